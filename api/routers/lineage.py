"""Where a decision came from: an order's executions, checks, proposal, signals, features and bars, and why there is
none.
"""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.json_types import ApiModel, nanoseconds, number, utc
from api.problems import NotFound
from api.resources import Db, Resources, ResourcesDep
from api.routers import PREFIX
from configs.strategies import load_strategies
from operators.explain.lineage import CauseNode, Explanation, RecordPosition, as_tree, explain, with_log_positions
from operators.explain.no_trade import explain_symbol_at
from schemas.errors import Unavailable
from sinks.lineage import DatabaseRecordLookup
from sinks.record_locator import RecordLocator

router = APIRouter(prefix=PREFIX, tags=["orders"])

WithLogPositions = Annotated[bool, Query(description="also topic, partition and offset of each record: about a second")]


class LogPosition(ApiModel):
    """`event_time` is the tick that holds the record; None where no clock stands behind it yet."""

    topic: str
    partition: int
    offset: int
    event_time: str | None


class LineageNode(ApiModel):
    """One record and what it was made from. `record` has the fields of its Avro schema; None where it is not found."""

    kind: str
    id: str
    timestamp: str | None
    place: LogPosition | None
    record: dict[str, Any] | None
    causes: list[LineageNode]


class Lineage(ApiModel):
    """`root` is the record asked for, with its causes down to the bars; `consequences` are what came of it. `note` says
    why there are no places.
    """

    outcome: str
    root: LineageNode
    consequences: list[LineageNode]
    note: str


class Inaction(ApiModel):
    """Why nothing was traded at a tick, in order of the pipeline; `row` is what the strategies saw."""

    symbol: str
    tick: str
    reasons: list[str]
    row: LineageNode | None


@router.get("/orders/{order_id}/lineage")
def get_order_lineage(order_id: str, db: Db, resources: ResourcesDep, places: WithLogPositions = True) -> Lineage:
    """An order walked back to the bars that caused it. 404 where there is none of that id."""
    lookup = DatabaseRecordLookup(db)
    if lookup.order(order_id) is None:
        raise NotFound(f"There is no order {order_id}.")
    return _lineage(lookup, resources, order_id, places)


@router.get("/lineage/{record_id}")
def get_lineage(record_id: str, db: Db, resources: ResourcesDep, places: WithLogPositions = True) -> Lineage:
    """The same for any decision: ord-N, prop-N, exe-N, refusal-N or the id of a command."""
    return _lineage(DatabaseRecordLookup(db), resources, record_id, places)


@router.get("/inaction/{symbol}")
def get_inaction(symbol: str, at: datetime, db: Db, resources: ResourcesDep) -> Inaction:
    """Why nothing was traded in a symbol at a time; the last bar at or before it counts. 404 before the first bar."""
    strategies = load_strategies([entry.model_dump() for entry in resources.settings.signals.strategies])
    needed = {strategy.name: strategy.features for strategy in strategies}
    explanation = explain_symbol_at(DatabaseRecordLookup(db), symbol, nanoseconds("at", at), needed)
    if not explanation.slice_ns:
        raise NotFound(f"{explanation.reasons[0][0].upper()}{explanation.reasons[0][1:]}.")
    row = None if explanation.row is None else _lineage_node(explanation.row)
    return Inaction(symbol=symbol, tick=utc(explanation.slice_ns), reasons=list(explanation.reasons), row=row)


def _lineage(lookup: DatabaseRecordLookup, resources: Resources, record_id: str, places: bool) -> Lineage:
    explanation = explain(lookup, record_id)
    if explanation is None:
        raise NotFound(f"There is no order, proposal, execution, refusal or command {record_id}.")
    note = "" if places else "places were not asked for"
    if places:
        try:
            explanation = _add_log_positions(resources, explanation)
        except Unavailable as error:
            note = f"places are left out: {error}"
    return Lineage(
        outcome=explanation.outcome,
        root=_lineage_node(explanation.root),
        consequences=[_lineage_node(node) for node in explanation.consequences],
        note=note,
    )


def _add_log_positions(resources: Resources, explanation: Explanation) -> Explanation:
    kafka = resources.settings.kafka
    with closing(RecordLocator(kafka.cluster, kafka.symbol_partitions, prefix=kafka.topic_prefix)) as locator:
        consequences = tuple(with_log_positions(node, locator.find) for node in explanation.consequences)
        return explanation._replace(root=with_log_positions(explanation.root, locator.find), consequences=consequences)


def _lineage_node(node: CauseNode) -> LineageNode:
    tree = _json_value(as_tree(node._replace(causes=())))
    ts = None if node.record is None else utc(node.record.ts_ns)
    place = None if node.place is None else _log_position(node.place)
    extra_fields = {"timestamp": ts, "place": place, "causes": [_lineage_node(cause) for cause in node.causes]}
    return LineageNode(**(tree | extra_fields))


def _log_position(place: RecordPosition) -> LogPosition:
    event_time = None if place.event_ns is None else utc(place.event_ns)
    return LogPosition(topic=place.topic, partition=place.partition, offset=place.offset, event_time=event_time)


def _json_value(value: Any) -> Any:
    """Money as JSON numbers, as everywhere in the API."""
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    return [_json_value(item) for item in value] if isinstance(value, list) else value
