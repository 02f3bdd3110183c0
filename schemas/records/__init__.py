"""One typed record per Avro schema in `schemas/avsc`; field order is the schema's field order.

Conventions that hold for every record:

* `ts_ns` is event time, nanoseconds since 1970-01-01 UTC: the time from which the platform can know the record.
* `seq` counts 1, 2, 3 ... per key (see `sequence_key`), in the state of the stage that writes the record. A duplicate
  delivery therefore has a `seq` that was read before, and a gap means loss.
* Money and quantities are `Decimal` with at most 9 decimal places; market data and statistics are `float`.
* An id depends only on its cause: `bar_id("AAPL", 7)` names the same bar in every run.
"""

from __future__ import annotations

from typing import NamedTuple, TypeGuard, get_args

from schemas.records.analysis import (
    FeatureRow,
    HandlerTimeout,
    HistoryRow,
    LlmRequest,
    ModelScore,
    Prediction,
    SentimentScore,
    Signal,
    SignalOutcome,
    StageTimer,
    StrategySuspension,
    StrategyWeights,
)
from schemas.records.constants import (
    ACCEPT_POSITION,
    ACTIVE,
    ADJUSTMENT,
    AMEND_ORDER,
    BORROW_FEE,
    BUY,
    BY_LEXICON,
    BY_LLM,
    CANCEL,
    CANCEL_ORDER,
    CANCELED,
    CASH_DIVIDEND,
    CASH_MERGER,
    CASH_TRANSFER,
    CLS,
    CONNECTED,
    CONTINUOUS,
    DAY,
    DELISTING,
    DEPOSIT,
    DISCONNECTED,
    DIVIDEND,
    DOWN,
    EXCHANGE_RATE,
    EXPIRED,
    EXTERNAL_FLOWS,
    FEE,
    FLATTEN_STRATEGY,
    FOK,
    FROM_BROKER,
    FROM_COMMAND,
    GTC,
    GTD,
    HALTED,
    HEARTBEAT,
    INTEREST,
    IOC,
    KILL_SWITCH,
    LIMIT,
    LONG,
    MARGIN_INTEREST,
    MARKET,
    MERGER_CASH,
    NEW,
    NOTE,
    OPG,
    ORDER_TOTAL,
    PENDING,
    PORTFOLIO,
    POST,
    PRE,
    PROCESSOR_TIME,
    READY,
    RECONCILING,
    REDUCING,
    REGULAR,
    REJECTED,
    RELEASE,
    REMOVED,
    REPLACED,
    RESUME_STRATEGY,
    RESUMED,
    RIGHTS,
    RUNNING,
    SELL,
    SHORT,
    SHORT_DIVIDEND,
    SIGNING_KEY,
    SIGNING_KEY_REVOKED,
    SIGNING_ROOT,
    SPIN_OFF,
    SPLIT,
    STOCK_DIVIDEND,
    STOCK_MERGER,
    STOP,
    STOP_LIMIT,
    STRATEGY,
    SUBMIT,
    SUBMIT_ORDER,
    SUSPENDED,
    SYMBOL,
    SYMBOL_CHANGE,
    TARGET_QUANTITY,
    TARGET_VIEW,
    TARGET_WEIGHT,
    TRADE,
    TRADING,
    TRADING_HALT,
    TRADING_RESUMED,
    TRAILING_STOP,
    UNIVERSE_ADDED,
    UNIVERSE_REMOVED,
    UNKNOWN,
    WAITING_TIME,
    WARMING_UP,
    WITHDRAWAL,
    BreakerScope,
    BrokerEvent,
    CashFlowKind,
    CashTransferKind,
    CashTransferSource,
    ChargeKind,
    CommandKind,
    CorporateActionKind,
    ExecType,
    GatewayState,
    IntentKind,
    LotDirection,
    OrderType,
    SentimentMethod,
    SessionPhase,
    Side,
    StrategyActionKind,
    StrategyState,
    SuspensionState,
    SymbolState,
    TimeInForce,
    TimeMeasure,
    TradingState,
)
from schemas.records.dead_letters import AuditHead, DeadLetter, LateRecord
from schemas.records.external import (
    BrokerAccount,
    BrokerActivity,
    BrokerUpdate,
    CheckpointMarker,
    Command,
    Configuration,
    CorporateAction,
    DataRow,
    ExchangeRate,
    Fundamentals,
    LlmAnswer,
    NewsItem,
    TradingSession,
    TradingStatus,
)
from schemas.records.ledger import Attribution, CashFlow, CashTransfer, Lot, LotMatch, Position, Valuation
from schemas.records.market import Bar, Clock, HistoryBar, HistoryTrade, Quote, Trade
from schemas.records.trading import (
    CheckResult,
    Execution,
    GatewayStatus,
    InternalCross,
    Order,
    OrderCancel,
    OrderIntent,
    OrderProposal,
    OrderRefusal,
    OrderTerms,
    RiskEvent,
    RiskFence,
    RiskUsage,
    StrategyAccount,
    StrategyAction,
    StrategyPosition,
    TargetReduction,
)

__all__ = [
    "ACCEPT_POSITION",
    "ACTIVE",
    "ADJUSTMENT",
    "AMEND_ORDER",
    "BORROW_FEE",
    "BUY",
    "BY_LEXICON",
    "BY_LLM",
    "BY_SYMBOL",
    "CANCEL",
    "CANCELED",
    "CANCEL_ORDER",
    "CASH_DIVIDEND",
    "CASH_MERGER",
    "CASH_TRANSFER",
    "CLS",
    "CONNECTED",
    "CONTINUOUS",
    "DAY",
    "DELISTING",
    "DEPOSIT",
    "DISCONNECTED",
    "DIVIDEND",
    "DOWN",
    "EXCHANGE_RATE",
    "EXPIRED",
    "EXTERNAL_FLOWS",
    "EXTERNAL_RECORDS",
    "FEE",
    "FLATTEN_STRATEGY",
    "FOK",
    "FROM_BROKER",
    "FROM_COMMAND",
    "GTC",
    "GTD",
    "HALTED",
    "HEARTBEAT",
    "INTEREST",
    "IOC",
    "KILL_SWITCH",
    "LIMIT",
    "LONG",
    "MARGIN_INTEREST",
    "MARKET",
    "MERGER_CASH",
    "NEW",
    "NOTE",
    "OPG",
    "ORDER_TOTAL",
    "PENDING",
    "PORTFOLIO",
    "POST",
    "PRE",
    "PROCESSOR_TIME",
    "READY",
    "RECONCILING",
    "REDUCING",
    "REGULAR",
    "REJECTED",
    "RELEASE",
    "REMOVED",
    "REPLACED",
    "RESUMED",
    "RESUME_STRATEGY",
    "RIGHTS",
    "RUNNING",
    "SELL",
    "SHORT",
    "SHORT_DIVIDEND",
    "SIGNING_KEY",
    "SIGNING_KEY_REVOKED",
    "SIGNING_ROOT",
    "SPIN_OFF",
    "SPLIT",
    "STOCK_DIVIDEND",
    "STOCK_MERGER",
    "STOP",
    "STOP_LIMIT",
    "STRATEGY",
    "SUBMIT",
    "SUBMIT_ORDER",
    "SUSPENDED",
    "SYMBOL",
    "SYMBOL_CHANGE",
    "TARGET_QUANTITY",
    "TARGET_VIEW",
    "TARGET_WEIGHT",
    "TOPIC_OF",
    "TRADE",
    "TRADING",
    "TRADING_HALT",
    "TRADING_RESUMED",
    "TRAILING_STOP",
    "UNCLOCKED_RECORDS",
    "UNIVERSE_ADDED",
    "UNIVERSE_REMOVED",
    "UNKNOWN",
    "WAITING_TIME",
    "WARMING_UP",
    "WITHDRAWAL",
    "Attribution",
    "AuditHead",
    "Bar",
    "BreakerScope",
    "BrokerAccount",
    "BrokerActivity",
    "BrokerEvent",
    "BrokerUpdate",
    "CashFlow",
    "CashFlowKind",
    "CashTransfer",
    "CashTransferKind",
    "CashTransferSource",
    "ChargeKind",
    "CheckResult",
    "CheckpointMarker",
    "Clock",
    "Command",
    "CommandKind",
    "Configuration",
    "CorporateAction",
    "CorporateActionKind",
    "DataRow",
    "DeadLetter",
    "ExchangeRate",
    "ExecType",
    "Execution",
    "ExternalRecord",
    "FeatureRow",
    "Fundamentals",
    "GatewayState",
    "GatewayStatus",
    "HandlerTimeout",
    "HistoryBar",
    "HistoryRow",
    "HistoryTrade",
    "IntentKind",
    "InternalCross",
    "LateRecord",
    "LlmAnswer",
    "LlmRequest",
    "Lot",
    "LotDirection",
    "LotMatch",
    "ModelScore",
    "NewsItem",
    "Order",
    "OrderCancel",
    "OrderIntent",
    "OrderProposal",
    "OrderRefusal",
    "OrderTerms",
    "OrderType",
    "Position",
    "Prediction",
    "Quote",
    "Record",
    "RiskEvent",
    "RiskFence",
    "RiskUsage",
    "SentimentMethod",
    "SentimentScore",
    "SequencedRecord",
    "SessionPhase",
    "Side",
    "Signal",
    "SignalOutcome",
    "StageTimer",
    "StrategyAccount",
    "StrategyAction",
    "StrategyActionKind",
    "StrategyPosition",
    "StrategyState",
    "StrategySuspension",
    "StrategyWeights",
    "SuspensionState",
    "SymbolRecord",
    "SymbolState",
    "TargetReduction",
    "TimeInForce",
    "TimeMeasure",
    "Trade",
    "TradingSession",
    "TradingState",
    "TradingStatus",
    "UnclockedRecord",
    "Valuation",
    "bar_id",
    "cross_id",
    "execution_id",
    "feature_id",
    "has_seq",
    "has_symbol",
    "order_id",
    "prediction_id",
    "proposal_id",
    "quote_id",
    "sentiment_id",
    "sequence_key",
    "signal_id",
    "strategy_action_id",
    "suspension_id",
    "weights_id",
]

SymbolRecord = (
    Bar | HistoryBar | HistoryTrade | Quote | Trade | FeatureRow | HistoryRow | Prediction | Signal | StrategySuspension
)
"""Records in a topic that is partitioned by symbol; all others are in partition 0 of their topic."""
SequencedRecord = (
    SymbolRecord
    | LlmRequest
    | SentimentScore
    | StrategyAction
    | StrategyPosition
    | StrategyAccount
    | OrderProposal
    | InternalCross
    | TargetReduction
    | Order
    | OrderCancel
    | RiskFence
    | RiskEvent
    | RiskUsage
    | OrderRefusal
    | Execution
    | GatewayStatus
    | CashTransfer
    | OrderIntent
    | Position
    | Lot
    | LotMatch
    | CashFlow
    | Valuation
    | StrategyWeights
    | SignalOutcome
    | Attribution
    | ModelScore
)
"""Records with a `seq`."""
ExternalRecord = (
    Command
    | Configuration
    | CheckpointMarker
    | NewsItem
    | LlmAnswer
    | Fundamentals
    | CorporateAction
    | ExchangeRate
    | TradingSession
    | TradingStatus
    | DataRow
    | BrokerUpdate
    | BrokerAccount
    | BrokerActivity
)
"""Records from outside the platform, other than market data. They have no `seq` and take effect at the next clock in
their log. A duplicate has the same id (its first field), and the stage that reads it discards it.
"""
UnclockedRecord = DeadLetter | LateRecord | AuditHead | HandlerTimeout | StageTimer
"""Rejected records, audit heads, and handler timeouts and timers: without a `seq`, in topics without a clock."""
Record = SequencedRecord | ExternalRecord | UnclockedRecord

BY_SYMBOL: frozenset[type[NamedTuple]] = frozenset(get_args(SymbolRecord))
EXTERNAL_RECORDS: frozenset[type[NamedTuple]] = frozenset(get_args(ExternalRecord))
UNCLOCKED_RECORDS: frozenset[type[NamedTuple]] = frozenset(get_args(UnclockedRecord))
_UNSEQUENCED_RECORDS = EXTERNAL_RECORDS | UNCLOCKED_RECORDS | {Clock}

TOPIC_OF: dict[type[NamedTuple], str] = {
    Bar: "market-bars",
    HistoryBar: "history-bars",
    HistoryTrade: "history-bars",
    Quote: "market-quotes",
    Trade: "market-trades",
    NewsItem: "news",
    LlmAnswer: "llm-answers",
    Fundamentals: "fundamentals",
    CorporateAction: "reference-data",
    ExchangeRate: "reference-data",
    TradingSession: "reference-data",
    TradingStatus: "reference-data",
    DataRow: "reference-data",
    FeatureRow: "features",
    HistoryRow: "features",
    LlmRequest: "llm-requests",
    SentimentScore: "sentiment",
    Prediction: "predictions",
    Signal: "signals",
    StrategySuspension: "strategy-suspensions",
    HandlerTimeout: "handler-timeouts",
    StageTimer: "stage-timers",
    StrategyAction: "strategy-actions",
    StrategyPosition: "strategy-actions",
    StrategyAccount: "strategy-actions",
    OrderProposal: "order-proposals",
    TargetReduction: "order-proposals",
    InternalCross: "order-proposals",
    Order: "orders",
    OrderCancel: "orders",
    RiskFence: "orders",
    RiskEvent: "risk-events",
    RiskUsage: "risk-events",
    OrderRefusal: "order-refusals",
    Execution: "executions",
    GatewayStatus: "executions",
    CashTransfer: "executions",
    OrderIntent: "order-intents",
    BrokerUpdate: "broker-updates",
    BrokerAccount: "broker-updates",
    BrokerActivity: "broker-updates",
    Position: "positions",
    Lot: "positions",
    LotMatch: "positions",
    CashFlow: "positions",
    Valuation: "valuations",
    StrategyWeights: "weights",
    SignalOutcome: "attribution",
    Attribution: "attribution",
    ModelScore: "attribution",
    Command: "commands",
    Configuration: "configuration",
    CheckpointMarker: "configuration",
    DeadLetter: "dead-letters",
    LateRecord: "late-records",
    AuditHead: "audit-heads",
}


def has_symbol(record: Record | Clock) -> TypeGuard[SymbolRecord]:
    """Whether the record's topic is partitioned by symbol."""
    return type(record) in BY_SYMBOL


def has_seq(record: Record | Clock) -> TypeGuard[SequencedRecord]:
    """Whether the record has a `seq`."""
    return type(record) not in _UNSEQUENCED_RECORDS


def sequence_key(record: SequencedRecord) -> str:
    """Return the key within which `seq` counts: the symbol in a topic by symbol, "" (the whole log) in other topics."""
    return record.symbol if has_symbol(record) else ""


def bar_id(symbol: str, seq: int) -> str:
    return f"bar-{symbol}-{seq}"


def quote_id(symbol: str, seq: int) -> str:
    return f"quote-{symbol}-{seq}"


def cross_id(seq: int) -> str:
    return f"cross-{seq}"


def feature_id(symbol: str, seq: int) -> str:
    return f"feat-{symbol}-{seq}"


def prediction_id(symbol: str, seq: int) -> str:
    return f"pred-{symbol}-{seq}"


def sentiment_id(seq: int) -> str:
    return f"sent-{seq}"


def signal_id(symbol: str, seq: int) -> str:
    return f"sig-{symbol}-{seq}"


def suspension_id(symbol: str, seq: int) -> str:
    return f"susp-{symbol}-{seq}"


def strategy_action_id(strategy: str, number: int) -> str:
    """Return the id of the action of a trading strategy. `number` counts the strategy's actions from 1."""
    return f"act-{strategy}-{number}"


def proposal_id(seq: int) -> str:
    return f"prop-{seq}"


def weights_id(seq: int) -> str:
    return f"weights-{seq}"


def order_id(seq: int) -> str:
    return f"ord-{seq}"


def execution_id(seq: int) -> str:
    return f"exe-{seq}"
