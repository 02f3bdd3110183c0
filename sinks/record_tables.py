"""The database table of each record type: its name, primary key and columns, without a database library.

The services that write records need no more than this. Building SQLAlchemy's tables (`sinks/tables.py`) takes a quarter
of the start of a dataflow process, and its memory.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from schemas.records import (
    Attribution,
    Bar,
    BrokerAccount,
    BrokerActivity,
    BrokerUpdate,
    CashFlow,
    CashTransfer,
    CheckResult,
    Command,
    Configuration,
    CorporateAction,
    DataRow,
    DeadLetter,
    ExchangeRate,
    Execution,
    FeatureRow,
    Fundamentals,
    GatewayStatus,
    InternalCross,
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
    StrategyAccount,
    StrategyAction,
    StrategyPosition,
    StrategySuspension,
    StrategyWeights,
    TargetReduction,
    Trade,
    TradingSession,
    TradingStatus,
    Valuation,
)
from schemas.records.flat import field_names, field_types, from_flat

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

R = TypeVar("R", bound=tuple[Any, ...])

_EXACT = Context(prec=38)  # as wide as the column; the default context rounds to 28 digits


class RecordTable(NamedTuple):
    """The table of a record type, and the names of the columns that identify a record.

    A table that is `by_month` has a partition for each month of `ts_ns` (`sinks/partitions.py`).
    """

    name: str
    key: tuple[str, ...]
    by_month: bool = False

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns of the primary key, which contains the column of the partitions."""
        return (*self.key, "ts_ns") if self.by_month and "ts_ns" not in self.key else self.key


RECORD_TABLES: dict[type, RecordTable] = {
    Bar: RecordTable("bars", ("symbol", "ts_ns"), by_month=True),
    FeatureRow: RecordTable("features", ("symbol", "ts_ns"), by_month=True),
    Signal: RecordTable("signals", ("symbol", "seq")),
    OrderProposal: RecordTable("order_proposals", ("proposal_id",)),
    InternalCross: RecordTable("internal_crosses", ("cross_id",)),
    TargetReduction: RecordTable("target_reductions", ("seq",)),
    Order: RecordTable("orders", ("order_id",)),
    OrderCancel: RecordTable("order_cancels", ("seq",)),
    RiskFence: RecordTable("risk_fences", ("seq",)),
    RiskEvent: RecordTable("risk_events", ("seq",)),
    RiskUsage: RecordTable("risk_usage", ("measure", "scope_key")),
    OrderRefusal: RecordTable("order_refusals", ("seq",)),
    Execution: RecordTable("executions", ("execution_id",)),
    Position: RecordTable("positions", ("symbol",)),
    Lot: RecordTable("lots", ("lot_id",)),
    LotMatch: RecordTable("lot_matches", ("match_id",)),
    Valuation: RecordTable("valuations", ("seq",), by_month=True),
    Command: RecordTable("commands", ("command_id",)),
    Configuration: RecordTable("configurations", ("configuration_id",)),
    Quote: RecordTable("quotes", ("symbol", "seq"), by_month=True),
    Trade: RecordTable("trades", ("symbol", "seq"), by_month=True),
    NewsItem: RecordTable("news", ("news_id",)),
    Fundamentals: RecordTable("fundamentals", ("fundamentals_id",)),
    CorporateAction: RecordTable("corporate_actions", ("action_id",)),
    ExchangeRate: RecordTable("exchange_rates", ("rate_id",)),
    TradingStatus: RecordTable("trading_statuses", ("status_id",)),
    TradingSession: RecordTable("trading_sessions", ("session_id",)),
    DataRow: RecordTable("data_rows", ("row_id",)),
    LlmRequest: RecordTable("llm_requests", ("request_id",)),
    LlmAnswer: RecordTable("llm_answers", ("answer_id",)),
    SentimentScore: RecordTable("sentiment", ("seq",)),
    Prediction: RecordTable("predictions", ("symbol", "seq"), by_month=True),
    GatewayStatus: RecordTable("gateway_statuses", ("seq",)),
    OrderIntent: RecordTable("order_intents", ("intent_id",)),
    BrokerUpdate: RecordTable("broker_updates", ("update_id",)),
    BrokerAccount: RecordTable("broker_accounts", ("update_id",)),
    BrokerActivity: RecordTable("broker_activities", ("update_id",)),
    CashFlow: RecordTable("cash_flows", ("cash_flow_id",)),
    CashTransfer: RecordTable("cash_transfers", ("transfer_id",)),
    StrategyAction: RecordTable("strategy_actions", ("action_id",)),
    StrategyPosition: RecordTable("strategy_positions", ("strategy", "symbol")),
    StrategyAccount: RecordTable("strategy_accounts", ("seq",)),
    StrategySuspension: RecordTable("strategy_suspensions", ("symbol", "seq")),
    StrategyWeights: RecordTable("weights", ("seq",)),
    SignalOutcome: RecordTable("signal_outcomes", ("seq",)),
    Attribution: RecordTable("attribution", ("seq",)),
    ModelScore: RecordTable("model_scores", ("seq",)),
    LateRecord: RecordTable("late_records", ("stage", "topic", "partition", "offset")),
    DeadLetter: RecordTable("dead_letters", ("stage", "topic", "partition", "offset")),
}

LATEST: frozenset[type] = frozenset({Position, Lot, RiskUsage, StrategyPosition})
"""Record types whose table holds the newest row per key, fenced by `seq`. Closed lots remain, with quantity 0."""
FROM_FEEDS: frozenset[type] = frozenset({Bar, Quote, Trade})
"""Record types of a live feed, which cannot repeat them. After a crash, the feed continues at the end of the log. If
the log lacks the record of a row, the next record with its key replaces the row.
"""
REVISED: frozenset[type] = frozenset({TradingSession})
"""Record types of which a later record in the log revises an earlier one with the same key. The table holds the last
one. A service that repeats records after a crash repeats the last one too.
"""

MONTHLY_TABLES: dict[str, type] = {table.name: kind for kind, table in RECORD_TABLES.items() if table.by_month}
"""The tables with a partition for each month, and their record types."""


class Field(NamedTuple):
    """One field of a record in the database: its plain Python type (list and dict without item types)."""

    name: str
    kind: type
    nullable: bool


def fields_of(record_type: Any) -> list[Field]:
    """Return the flat fields of a record type in order.

    >>> fields_of(Order)[8]
    Field(name='limit_price', kind=<class 'decimal.Decimal'>, nullable=True)
    """
    fields = []
    for name, hint in field_types(record_type).items():
        nullable = isinstance(hint, types.UnionType) or get_origin(hint) is Union
        if nullable:
            (hint,) = (argument for argument in get_args(hint) if argument is not type(None))
        kind = get_origin(hint) or hint
        fields.append(Field(name, str if kind is Literal else kind, nullable))
    return fields


def record_of(record_type: type[R], row: Mapping[str, Any] | RowMapping) -> R:
    """Return the record in a row (`Row._mapping` or `.mappings()`). Its `Decimal`s are equal, without trailing zeros.

    Raises KeyError if a column is missing.
    """
    names = field_names(record_type)
    values = [_normalized(row[name]) for name in names]
    if record_type is Order:
        index = names.index("checks")
        values[index] = [CheckResult(**check) for check in values[index]]
    record: R = from_flat(record_type, values)
    return record


def _normalized(value: Any) -> Any:
    """Strip zeros that NUMERIC(38, 9) adds: 150.250000000 becomes 150.25, and 100.000000000 becomes 100."""
    if type(value) is Decimal:
        stripped = _EXACT.normalize(value)
        exponent = stripped.as_tuple().exponent
        assert isinstance(exponent, int), f"tables hold finite numbers only, found {value}"
        return stripped if exponent <= 0 else _EXACT.quantize(stripped, Decimal(1))
    return bytes(value) if type(value) is memoryview else value
