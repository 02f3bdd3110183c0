"""Where a decision came from: an order's executions, checks, proposal, signals, features and bars, and why there is
none.
"""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.json_types import Shape, nanoseconds, number, utc
from api.problems import NotFound
from api.resources import Db, Open, Resources
from api.routers import PREFIX
from configs.strategies import load_strategies
from operators.explain.lineage import Explanation, Node, Place, as_tree, explain, located
from operators.explain.no_trade import at_moment
from schemas.errors import Unavailable
from sinks.lineage import StoredBooks
from sinks.log_positions import Places

router = APIRouter(prefix=PREFIX, tags=["orders"])

WithPlaces = Annotated[bool, Query(description="also topic, partition and offset of each record: about a second")]


class PlaceInLog(Shape):
    """`event_time` is the tick that holds the record; None where no clock stands behind it yet."""

    topic: str
    partition: int
    offset: int
    event_time: str | None


class LineageNode(Shape):
    """One record and what it was made from. `record` has the fields of its Avro schema; None where it is not found."""

    kind: str
    id: str
    timestamp: str | None
    place: PlaceInLog | None
    record: dict[str, Any] | None
    causes: list[LineageNode]


class Lineage(Shape):
    """`root` is the record asked for, with its causes down to the bars; `consequences` are what came of it. `note` says
    why there are no places.
    """

    outcome: str
    root: LineageNode
    consequences: list[LineageNode]
    note: str


class Inaction(Shape):
    """Why nothing was traded at a tick, in order of the pipeline; `row` is what the strategies saw."""

    symbol: str
    tick: str
    reasons: list[str]
    row: LineageNode | None


@router.get("/orders/{order_id}/lineage")
def get_order_lineage(order_id: str, db: Db, resources: Open, places: WithPlaces = True) -> Lineage:
    """An order walked back to the bars that caused it. 404 where there is none of that id."""
    books = StoredBooks(db)
    if books.order(order_id) is None:
        raise NotFound(f"There is no order {order_id}.")
    return _lineage(books, resources, order_id, places)


@router.get("/lineage/{record_id}")
def get_lineage(record_id: str, db: Db, resources: Open, places: WithPlaces = True) -> Lineage:
    """The same for any decision: ord-N, prop-N, exe-N, refusal-N or the id of a command."""
    return _lineage(StoredBooks(db), resources, record_id, places)


@router.get("/inaction/{symbol}")
def get_inaction(symbol: str, at: datetime, db: Db, resources: Open) -> Inaction:
    """Why nothing was traded in a symbol at a time; the last bar at or before it counts. 404 before the first bar."""
    strategies = load_strategies([entry.model_dump() for entry in resources.settings.signals.strategies])
    needed = {strategy.name: strategy.features for strategy in strategies}
    moment = at_moment(StoredBooks(db), symbol, nanoseconds("at", at), needed)
    if not moment.tick_ns:
        raise NotFound(f"{moment.reasons[0][0].upper()}{moment.reasons[0][1:]}.")
    row = None if moment.row is None else _shape(moment.row)
    return Inaction(symbol=symbol, tick=utc(moment.tick_ns), reasons=list(moment.reasons), row=row)


def _lineage(books: StoredBooks, resources: Resources, wanted: str, places: bool) -> Lineage:
    found = explain(books, wanted)
    if found is None:
        raise NotFound(f"There is no order, proposal, execution, refusal or command {wanted}.")
    note = "" if places else "places were not asked for"
    if places:
        try:
            found = _with_places(resources, found)
        except Unavailable as error:
            note = f"places are left out: {error}"
    return Lineage(
        outcome=found.outcome,
        root=_shape(found.root),
        consequences=[_shape(node) for node in found.consequences],
        note=note,
    )


def _with_places(resources: Resources, found: Explanation) -> Explanation:
    kafka = resources.settings.kafka
    with closing(Places(kafka.cluster, kafka.symbol_partitions, prefix=kafka.topic_prefix)) as places:
        consequences = tuple(located(node, places.find) for node in found.consequences)
        return found._replace(root=located(found.root, places.find), consequences=consequences)


def _shape(node: Node) -> LineageNode:
    tree = _plain(as_tree(node._replace(causes=())))
    ts = None if node.record is None else utc(node.record.ts_ns)
    place = None if node.place is None else _where(node.place)
    shown = {"timestamp": ts, "place": place, "causes": [_shape(cause) for cause in node.causes]}
    return LineageNode(**(tree | shown))


def _where(place: Place) -> PlaceInLog:
    event_time = None if place.event_ns is None else utc(place.event_ns)
    return PlaceInLog(topic=place.topic, partition=place.partition, offset=place.offset, event_time=event_time)


def _plain(value: Any) -> Any:
    """Money as JSON numbers, as everywhere in the API."""
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
