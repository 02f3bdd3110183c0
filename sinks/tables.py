"""Database tables: one per record type, with columns named and ordered like the record's fields.

A record's tuple is therefore a row, and `record_of(Bar, row)` converts a row back. Each table also has `ts`, the event
time `ts_ns` as a timestamp for people (computed on reading, to the microsecond; `ts_ns` is exact).

There are two kinds of tables. *Facts* are written once and never change; duplicates are ignored. *Latest* tables
(`LATEST`) hold one row per key, replaced only by a row with a higher `seq`. Money and quantities are NUMERIC(38, 9).
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Double,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    RowMapping,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from schemas.records import (
    Attribution,
    Bar,
    BrokerAccount,
    BrokerUpdate,
    CashFlow,
    CheckResult,
    Command,
    CorporateAction,
    DeadLetter,
    ExchangeRate,
    Execution,
    FeatureRow,
    Fundamentals,
    GatewayStatus,
    LateRecord,
    LlmAnswer,
    LlmRequest,
    Lot,
    LotMatch,
    ModelScore,
    NewsItem,
    Order,
    OrderCancel,
    OrderIntent,
    OrderProposal,
    OrderRefusal,
    Position,
    Prediction,
    Quote,
    RiskEvent,
    RiskFence,
    RiskUsage,
    SentimentScore,
    Signal,
    SignalOutcome,
    StrategyWeights,
    Trade,
    Valuation,
)

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"},
)

# Spelled as Postgres prints to_timestamp(ts_ns / 1e9), so that `alembic check` finds no difference.
TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"

R = TypeVar("R", bound=tuple[Any, ...])

_EXACT = Context(prec=38)  # as wide as the column; the default context rounds to 28 digits

_COLUMN_TYPES: dict[type, type[TypeEngine[Any]] | TypeEngine[Any]] = {
    str: Text,
    int: BigInteger,
    float: Double,
    bool: Boolean,
    bytes: LargeBinary,
    Decimal: Numeric(38, 9),
    list: JSONB,
    dict: JSONB,
}


class Field(NamedTuple):
    """One field of a record in the database: its plain Python type (list and dict without item types)."""

    name: str
    kind: type
    nullable: bool


def fields_of(record_type: Any) -> list[Field]:
    """Return the fields of a record type in order.

    >>> fields_of(Order)[8]
    Field(name='limit_price', kind=<class 'decimal.Decimal'>, nullable=True)
    """
    hints = get_type_hints(record_type)
    fields = []
    for name in record_type._fields:
        hint = hints[name]
        nullable = isinstance(hint, types.UnionType) or get_origin(hint) is Union
        if nullable:
            (hint,) = (argument for argument in get_args(hint) if argument is not type(None))
        fields.append(Field(name, get_origin(hint) or hint, nullable))
    return fields


def _table(name: str, record_type: type, key: tuple[str, ...], *indexes: Index) -> Table:
    columns = [
        Column(field.name, _COLUMN_TYPES[field.kind], primary_key=field.name in key, nullable=field.nullable)
        for field in fields_of(record_type)
    ]
    for column in columns:
        column.autoincrement = False
    ts = Column("ts", DateTime(timezone=True), Computed(TS_SQL, persisted=False))
    return Table(name, metadata, *columns, ts, *indexes)


bars = _table("bars", Bar, ("symbol", "ts_ns"))
features = _table("features", FeatureRow, ("symbol", "ts_ns"))
signals = _table("signals", Signal, ("symbol", "seq"), Index(None, "ts_ns"))
order_proposals = _table("order_proposals", OrderProposal, ("proposal_id",), Index(None, "seq"))
orders = _table(
    "orders", Order, ("order_id",), Index(None, "seq"), Index(None, "symbol", "seq"), Index(None, "cause_id")
)
order_cancels = _table("order_cancels", OrderCancel, ("seq",), Index(None, "order_id"))
# The row with the highest seq holds the current risk state: its epoch and state.
risk_fences = _table("risk_fences", RiskFence, ("seq",))
risk_events = _table("risk_events", RiskEvent, ("seq",), Index(None, "ts_ns"))
risk_usage = _table("risk_usage", RiskUsage, ("measure", "scope_key"))
order_refusals = _table("order_refusals", OrderRefusal, ("seq",), Index(None, "cause_id"))
executions = _table("executions", Execution, ("execution_id",), Index(None, "seq"), Index(None, "order_id", "seq"))
positions = _table("positions", Position, ("symbol",))
lots = _table("lots", Lot, ("lot_id",), Index("ix_lots_open", "symbol", postgresql_where=text("quantity <> 0")))
lot_matches = _table("lot_matches", LotMatch, ("match_id",), Index(None, "seq"), Index(None, "symbol", "seq"))
valuations = _table("valuations", Valuation, ("seq",), Index(None, "ts_ns"))
commands = _table("commands", Command, ("command_id",), Index(None, "ts_ns"))
quotes = _table("quotes", Quote, ("symbol", "seq"), Index(None, "symbol", "ts_ns"))
trades = _table("trades", Trade, ("symbol", "seq"), Index(None, "symbol", "ts_ns"))
_SYMBOLS_INDEX = Index(None, "symbols", postgresql_using="gin", postgresql_ops={"symbols": "jsonb_path_ops"})
news = _table("news", NewsItem, ("news_id",), Index(None, "ts_ns"), _SYMBOLS_INDEX)
fundamentals = _table("fundamentals", Fundamentals, ("fundamentals_id",), Index(None, "symbol", "filed"))
corporate_actions = _table("corporate_actions", CorporateAction, ("action_id",), Index(None, "symbol"))
exchange_rates = _table("exchange_rates", ExchangeRate, ("rate_id",), Index(None, "base", "quote", "ts_ns"))
llm_requests = _table("llm_requests", LlmRequest, ("request_id",), Index(None, "seq"))
llm_answers = _table("llm_answers", LlmAnswer, ("answer_id",), Index(None, "request_id"))
sentiment = _table("sentiment", SentimentScore, ("seq",), Index(None, "symbol", "ts_ns"), Index(None, "news_id"))
predictions = _table("predictions", Prediction, ("symbol", "seq"), Index(None, "ts_ns"))
gateway_statuses = _table("gateway_statuses", GatewayStatus, ("seq",))
order_intents = _table("order_intents", OrderIntent, ("intent_id",), Index(None, "seq"), Index(None, "order_id"))
broker_updates = _table("broker_updates", BrokerUpdate, ("update_id",), Index(None, "client_order_id"))
broker_accounts = _table("broker_accounts", BrokerAccount, ("update_id",), Index(None, "ts_ns"))
cash_flows = _table("cash_flows", CashFlow, ("cash_flow_id",), Index(None, "seq"), Index(None, "symbol"))
weights = _table("weights", StrategyWeights, ("seq",))
signal_outcomes = _table("signal_outcomes", SignalOutcome, ("seq",), Index(None, "signal_id"), Index(None, "strategy"))
attribution = _table("attribution", Attribution, ("seq",), Index(None, "strategy", "ts_ns"), Index(None, "ts_ns"))
model_scores = _table("model_scores", ModelScore, ("seq",), Index(None, "model_hash"))
late_records = _table("late_records", LateRecord, ("stage", "topic", "partition", "offset"))
dead_letters = _table("dead_letters", DeadLetter, ("stage", "topic", "partition", "offset"))

TABLE_OF: dict[type, Table] = {
    Bar: bars,
    FeatureRow: features,
    Signal: signals,
    OrderProposal: order_proposals,
    Order: orders,
    OrderCancel: order_cancels,
    RiskFence: risk_fences,
    RiskEvent: risk_events,
    RiskUsage: risk_usage,
    OrderRefusal: order_refusals,
    Execution: executions,
    Position: positions,
    Lot: lots,
    LotMatch: lot_matches,
    Valuation: valuations,
    Command: commands,
    Quote: quotes,
    Trade: trades,
    NewsItem: news,
    Fundamentals: fundamentals,
    CorporateAction: corporate_actions,
    ExchangeRate: exchange_rates,
    LlmRequest: llm_requests,
    LlmAnswer: llm_answers,
    SentimentScore: sentiment,
    Prediction: predictions,
    GatewayStatus: gateway_statuses,
    OrderIntent: order_intents,
    BrokerUpdate: broker_updates,
    BrokerAccount: broker_accounts,
    CashFlow: cash_flows,
    StrategyWeights: weights,
    SignalOutcome: signal_outcomes,
    Attribution: attribution,
    ModelScore: model_scores,
    LateRecord: late_records,
    DeadLetter: dead_letters,
}

LATEST: frozenset[type] = frozenset({Position, Lot, RiskUsage})
"""Record types whose table holds the newest row per key, fenced by `seq`. Closed lots remain, with quantity 0."""


def record_of(record_type: type[R], row: Mapping[str, Any] | RowMapping) -> R:
    """Return the record in a row (`Row._mapping` or `.mappings()`). Its `Decimal`s are equal, without trailing zeros.

    Raises KeyError if a column is missing.
    """
    make = record_type._make  # type: ignore[attr-defined]
    values = [_normalized(row[name]) for name in record_type._fields]  # type: ignore[attr-defined]
    if record_type is Order:
        index = Order._fields.index("checks")
        values[index] = [CheckResult(**check) for check in values[index]]
    return make(values)  # type: ignore[no-any-return]


def _normalized(value: Any) -> Any:
    """Strip zeros that NUMERIC(38, 9) adds: 150.250000000 becomes 150.25, and 100.000000000 becomes 100."""
    if type(value) is Decimal:
        stripped = _EXACT.normalize(value)
        return stripped if stripped.as_tuple().exponent <= 0 else _EXACT.quantize(stripped, Decimal(1))  # type: ignore[operator]
    return bytes(value) if type(value) is memoryview else value
