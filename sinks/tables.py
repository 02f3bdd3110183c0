"""Database tables: one per record type, with columns named and ordered like the record's fields.

A record's tuple is therefore a row, and `record_of(Bar, row)` converts a row back. Each table also has `ts`, the event
time `ts_ns` as a timestamp for people (computed on reading, to the microsecond; `ts_ns` is exact).

There are three kinds of tables. *Facts* are written once and never change; duplicates are ignored. *Latest* tables
(`LATEST`) hold one row per key, replaced only by a row with a higher `seq`. In a *revised* table (`REVISED`), each
record replaces the row with its key. Tables of market data have a partition for each month (`sinks/partitions.py`).
Money and quantities are NUMERIC(38, 9).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

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
    BrokerActivity,
    BrokerUpdate,
    CashFlow,
    CashTransfer,
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
from sinks.record_tables import RECORD_TABLES, fields_of

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"},
)

# Spelled as Postgres prints to_timestamp(ts_ns / 1e9), so that `alembic check` finds no difference.
TS_SQL = "to_timestamp(((ts_ns)::numeric / '1000000000'::numeric)::double precision)"

BY_MONTH = "RANGE (ts_ns)"

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


def _table(record_type: type, *indexes: Index) -> Table:
    table = RECORD_TABLES[record_type]
    key = table.primary_key
    columns = [
        Column(field.name, _COLUMN_TYPES[field.kind], primary_key=field.name in key, nullable=field.nullable)
        for field in fields_of(record_type)
    ]
    for column in columns:
        column.autoincrement = False
    ts = Column("ts", DateTime(timezone=True), Computed(TS_SQL, persisted=False))
    return Table(
        table.name, metadata, *columns, ts, *indexes, postgresql_partition_by=BY_MONTH if table.by_month else None
    )


bars = _table(Bar)
features = _table(FeatureRow)
signals = _table(Signal, Index(None, "ts_ns"))
order_proposals = _table(OrderProposal, Index(None, "seq"))
_CAUSES_INDEX = Index(None, "cause_ids", postgresql_using="gin", postgresql_ops={"cause_ids": "jsonb_path_ops"})
internal_crosses = _table(InternalCross, Index(None, "seq"), _CAUSES_INDEX)
target_reductions = _table(TargetReduction, Index(None, "strategy", "seq"), Index(None, "action_id"))
orders = _table(Order, Index(None, "seq"), Index(None, "symbol", "seq"), Index(None, "cause_id"))
order_cancels = _table(OrderCancel, Index(None, "order_id"))
# The row with the highest seq holds the current risk state: its epoch and state.
risk_fences = _table(RiskFence)
risk_events = _table(RiskEvent, Index(None, "ts_ns"))
risk_usage = _table(RiskUsage)
order_refusals = _table(OrderRefusal, Index(None, "cause_id"))
executions = _table(Execution, Index(None, "seq"), Index(None, "order_id", "seq"))
positions = _table(Position)
lots = _table(Lot, Index("ix_lots_open", "symbol", postgresql_where=text("quantity <> 0")))
lot_matches = _table(LotMatch, Index(None, "seq"), Index(None, "symbol", "seq"), Index(None, "strategy", "seq"))
valuations = _table(Valuation, Index(None, "ts_ns"))
commands = _table(Command, Index(None, "ts_ns"))
configurations = _table(Configuration, Index(None, "number"))
quotes = _table(Quote, Index(None, "symbol", "ts_ns"))
trades = _table(Trade, Index(None, "symbol", "ts_ns"))
_SYMBOLS_INDEX = Index(None, "symbols", postgresql_using="gin", postgresql_ops={"symbols": "jsonb_path_ops"})
news = _table(NewsItem, Index(None, "ts_ns"), _SYMBOLS_INDEX)
fundamentals = _table(Fundamentals, Index(None, "symbol", "filed"))
corporate_actions = _table(CorporateAction, Index(None, "symbol"))
exchange_rates = _table(ExchangeRate, Index(None, "base", "quote", "ts_ns"))
trading_statuses = _table(TradingStatus, Index(None, "symbol", "ts_ns"), Index(None, "ts_ns"))
trading_sessions = _table(TradingSession, Index(None, "open_ns"))
data_rows = _table(DataRow, Index(None, "name", "ts_ns"), Index(None, "ts_ns"))
llm_requests = _table(LlmRequest, Index(None, "seq"))
llm_answers = _table(LlmAnswer, Index(None, "request_id"))
sentiment = _table(SentimentScore, Index(None, "symbol", "ts_ns"), Index(None, "news_id"))
predictions = _table(Prediction, Index(None, "ts_ns"))
gateway_statuses = _table(GatewayStatus)
order_intents = _table(OrderIntent, Index(None, "seq"), Index(None, "order_id"))
broker_updates = _table(BrokerUpdate, Index(None, "client_order_id"))
broker_accounts = _table(BrokerAccount, Index(None, "ts_ns"))
broker_activities = _table(BrokerActivity, Index(None, "ts_ns"))
cash_transfers = _table(CashTransfer, Index(None, "seq"), Index(None, "ts_ns"))
cash_flows = _table(CashFlow, Index(None, "seq"), Index(None, "symbol"))
strategy_actions = _table(StrategyAction, Index(None, "seq"), Index(None, "strategy", "seq"))
strategy_positions = _table(StrategyPosition)
strategy_accounts = _table(StrategyAccount, Index(None, "strategy", "seq"), Index(None, "strategy", "ts_ns"))
strategy_suspensions = _table(StrategySuspension, Index(None, "strategy", "ts_ns"))
weights = _table(StrategyWeights)
signal_outcomes = _table(SignalOutcome, Index(None, "signal_id"), Index(None, "strategy"))
attribution = _table(Attribution, Index(None, "strategy", "ts_ns"), Index(None, "ts_ns"))
model_scores = _table(ModelScore, Index(None, "model_hash"))
late_records = _table(LateRecord)
dead_letters = _table(DeadLetter)
TABLE_OF: dict[type, Table] = {kind: metadata.tables[table.name] for kind, table in RECORD_TABLES.items()}
