"""Lineage of a decision: an order's executions, checks, proposal, signals, features and bars; and why no order was
created.
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
from configs.recorded_settings import is_valid
from configs.strategies import configured_strategies
from operators.explain.cause_tree import CauseNode, Explanation, RecordPosition, as_tree, with_log_positions
from operators.explain.configurations import DecidingConfiguration, configurations_of
from operators.explain.lineage import explain
from operators.explain.no_trade import explain_symbol_at
from schemas.errors import Unavailable
from sinks.lineage import DatabaseRecordLookup
from sinks.record_locator import RecordLocator

router = APIRouter(prefix=PREFIX, tags=["orders"])

WithLogPositions = Annotated[
    bool, Query(description="include topic, partition and offset of each record; takes about a second")
]


class LogPosition(ApiModel):
    """`event_time` is the time slice of the record; null while no clock record follows the record in the log."""

    topic: str
    partition: int
    offset: int
    event_time: str | None


class LineageNode(ApiModel):
    """One record and its causes. `record` has the fields of its Avro schema; null if the record was not found."""

    kind: str
    id: str
    timestamp: str | None
    place: LogPosition | None
    record: dict[str, Any] | None
    causes: list[LineageNode]


class LineageConfiguration(ApiModel):
    """A configuration that was in force from the time slice `since` on, and the decisions in the tree that were made
    under it. `source_sha256` are the hashes of the user's files by path.
    """

    configuration_id: str
    number: int
    sha256: str
    release: str
    actor: str
    reason: str
    source_sha256: dict[str, str]
    since: str
    records: list[str]


class Lineage(ApiModel):
    """`root` is the requested record with its causes down to the bars; `consequences` are the records that it caused.
    `configurations` are those under which the decisions were made, in the order of the log. `note` explains why log
    positions, and with them the configurations, are missing.
    """

    outcome: str
    root: LineageNode
    consequences: list[LineageNode]
    configurations: list[LineageConfiguration]
    note: str


class NoTradeOut(ApiModel):
    """The reasons why no order was created in a time slice, in order of the pipeline. `tick` is the event time of that
    time slice, `row` the feature row that the strategies received.
    """

    symbol: str
    tick: str
    reasons: list[str]
    row: LineageNode | None


@router.get("/orders/{order_id}/lineage")
def get_order_lineage(order_id: str, db: Db, resources: ResourcesDep, places: WithLogPositions = True) -> Lineage:
    """The lineage of an order, back to the bars that caused it. 404 if there is no order with this id."""
    lookup = DatabaseRecordLookup(db)
    if lookup.order(order_id) is None:
        raise NotFound(f"Order {order_id} does not exist.")
    return _lineage(lookup, resources, order_id, places)


@router.get("/lineage/{record_id}")
def get_lineage(record_id: str, db: Db, resources: ResourcesDep, places: WithLogPositions = True) -> Lineage:
    """The lineage of any decision: ord-N, prop-N, exe-N, adj-N, cross-N, refusal-N, transfer-N, act-STRATEGY-N or the
    id of a command.
    """
    return _lineage(DatabaseRecordLookup(db), resources, record_id, places)


@router.get("/inaction/{symbol}")
def get_no_trade_reasons(symbol: str, at: datetime, db: Db, resources: ResourcesDep) -> NoTradeOut:
    """Why no order was created for a symbol at a time. The last bar at or before that time counts. 404 before the first
    bar.
    """
    strategies = configured_strategies(resources.settings)
    needed = {strategy.name: strategy.features for strategy in strategies.views}
    explanation = explain_symbol_at(DatabaseRecordLookup(db), symbol, nanoseconds("at", at), needed)
    if not explanation.slice_ns:
        raise NotFound(f"{explanation.reasons[0][0].upper()}{explanation.reasons[0][1:]}.")
    row = None if explanation.row is None else _lineage_node(explanation.row)
    return NoTradeOut(symbol=symbol, tick=utc(explanation.slice_ns), reasons=list(explanation.reasons), row=row)


def _lineage(lookup: DatabaseRecordLookup, resources: Resources, record_id: str, places: bool) -> Lineage:
    explanation = explain(lookup, record_id)
    if explanation is None:
        raise NotFound(f"No order, proposal, execution, refusal or command has the id {record_id}.")
    note = "" if places else "log positions were not requested"
    configurations: list[DecidingConfiguration] = []
    if places:
        try:
            explanation, configurations = _add_log_positions(lookup, resources, explanation)
        except Unavailable as error:
            note = f"log positions are not available: {error}"
    return Lineage(
        outcome=explanation.outcome,
        root=_lineage_node(explanation.root),
        consequences=[_lineage_node(node) for node in explanation.consequences],
        configurations=[_configuration(one) for one in configurations],
        note=note,
    )


def _add_log_positions(
    lookup: DatabaseRecordLookup, resources: Resources, explanation: Explanation
) -> tuple[Explanation, list[DecidingConfiguration]]:
    kafka = resources.settings.kafka
    locator = RecordLocator(kafka.cluster, kafka.symbol_partitions, prefix=kafka.topic_prefix, archive=kafka.archive)
    with closing(locator):
        consequences = tuple(with_log_positions(node, locator.find) for node in explanation.consequences)
        placed = explanation._replace(
            root=with_log_positions(explanation.root, locator.find), consequences=consequences
        )
        return placed, configurations_of(explanation.root, lookup, locator.find, is_valid)


def _configuration(in_force: DecidingConfiguration) -> LineageConfiguration:
    configuration, since_ns, record_ids = in_force
    return LineageConfiguration(
        configuration_id=configuration.configuration_id,
        number=configuration.number,
        sha256=configuration.sha256,
        release=configuration.release,
        actor=configuration.actor,
        reason=configuration.reason,
        source_sha256=configuration.source_sha256,
        since=utc(since_ns),
        records=list(record_ids),
    )


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
    """Convert money to JSON numbers, as everywhere in the API."""
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    return [_json_value(item) for item in value] if isinstance(value, list) else value
