"""One typed record per Avro schema in `schemas/avsc`; field order is the schema's field order.

Conventions that hold for every record:

* `ts_ns` is event time, nanoseconds since 1970-01-01 UTC: the time from which the platform can know the record.
* `seq` counts 1, 2, 3 ... per key (see `sequence_key`), in the state of the stage that writes the record. A duplicate
  delivery therefore has a `seq` that was read before, and a gap means loss.
* Money and quantities are `Decimal` with at most 9 decimal places; market data and statistics are `float`.
* An id depends only on its cause: `bar_id("AAPL", 7)` names the same bar in every run.
"""

from __future__ import annotations

from schemas.records.analysis import (
    FeatureRow,
    LlmRequest,
    ModelScore,
    Prediction,
    SentimentScore,
    Signal,
    SignalOutcome,
    StrategyWeights,
)
from schemas.records.constants import (
    ACTIVE,
    BUY,
    CANCELED,
    CASH_DIVIDEND,
    CLS,
    CONTINUOUS,
    DAY,
    DELISTING,
    DOWN,
    EXCHANGE_RATE,
    EXPIRED,
    FOK,
    GTC,
    GTD,
    HALTED,
    HEARTBEAT,
    IOC,
    KILL_SWITCH,
    LIMIT,
    MARKET,
    NEW,
    OPG,
    POST,
    PRE,
    READY,
    RECONCILING,
    REDUCING,
    REGULAR,
    REJECTED,
    RELEASE,
    REPLACED,
    SELL,
    SPLIT,
    STOCK_DIVIDEND,
    STOP,
    STOP_LIMIT,
    SYMBOL_CHANGE,
    TRADE,
    TRAILING_STOP,
)
from schemas.records.dead_letters import AuditHead, DeadLetter, LateRecord
from schemas.records.external import (
    BrokerAccount,
    BrokerUpdate,
    Command,
    CorporateAction,
    ExchangeRate,
    Fundamentals,
    LlmAnswer,
    NewsItem,
)
from schemas.records.ledger import Attribution, CashFlow, Lot, LotMatch, Position, Valuation
from schemas.records.market import Bar, Clock, Quote, Trade
from schemas.records.trading import (
    CheckResult,
    Execution,
    GatewayStatus,
    Order,
    OrderCancel,
    OrderIntent,
    OrderProposal,
    OrderRefusal,
    RiskEvent,
    RiskFence,
    RiskUsage,
)

__all__ = [
    "ACTIVE",
    "BUY",
    "BY_SYMBOL",
    "CANCELED",
    "CASH_DIVIDEND",
    "CLS",
    "CONTINUOUS",
    "DAY",
    "DELISTING",
    "DOWN",
    "EXCHANGE_RATE",
    "EXPIRED",
    "EXTERNAL_RECORDS",
    "FOK",
    "GTC",
    "GTD",
    "HALTED",
    "HEARTBEAT",
    "IOC",
    "KILL_SWITCH",
    "LIMIT",
    "MARKET",
    "NEW",
    "OPG",
    "POST",
    "PRE",
    "READY",
    "RECONCILING",
    "REDUCING",
    "REGULAR",
    "REJECTED",
    "RELEASE",
    "REPLACED",
    "SELL",
    "SPLIT",
    "STOCK_DIVIDEND",
    "STOP",
    "STOP_LIMIT",
    "SYMBOL_CHANGE",
    "TOPIC_OF",
    "TRADE",
    "TRAILING_STOP",
    "UNCLOCKED_RECORDS",
    "Attribution",
    "AuditHead",
    "Bar",
    "BrokerAccount",
    "BrokerUpdate",
    "CashFlow",
    "CheckResult",
    "Clock",
    "Command",
    "CorporateAction",
    "DeadLetter",
    "ExchangeRate",
    "Execution",
    "FeatureRow",
    "Fundamentals",
    "GatewayStatus",
    "LateRecord",
    "LlmAnswer",
    "LlmRequest",
    "Lot",
    "LotMatch",
    "ModelScore",
    "NewsItem",
    "Order",
    "OrderCancel",
    "OrderIntent",
    "OrderProposal",
    "OrderRefusal",
    "Position",
    "Prediction",
    "Quote",
    "Record",
    "RiskEvent",
    "RiskFence",
    "RiskUsage",
    "SentimentScore",
    "Signal",
    "SignalOutcome",
    "StrategyWeights",
    "Trade",
    "Valuation",
    "bar_id",
    "execution_id",
    "feature_id",
    "order_id",
    "prediction_id",
    "proposal_id",
    "sentiment_id",
    "sequence_key",
    "signal_id",
    "weights_id",
]

Record = (
    Bar
    | Quote
    | Trade
    | NewsItem
    | LlmAnswer
    | Fundamentals
    | CorporateAction
    | ExchangeRate
    | FeatureRow
    | LlmRequest
    | SentimentScore
    | Prediction
    | Signal
    | OrderProposal
    | Order
    | OrderCancel
    | RiskFence
    | RiskEvent
    | RiskUsage
    | OrderRefusal
    | Execution
    | GatewayStatus
    | OrderIntent
    | BrokerUpdate
    | BrokerAccount
    | Position
    | Lot
    | LotMatch
    | CashFlow
    | Valuation
    | StrategyWeights
    | SignalOutcome
    | Attribution
    | ModelScore
    | Command
    | DeadLetter
    | LateRecord
    | AuditHead
)

TOPIC_OF: dict[type, str] = {
    Bar: "market-bars",
    Quote: "market-quotes",
    Trade: "market-trades",
    NewsItem: "news",
    LlmAnswer: "llm-answers",
    Fundamentals: "fundamentals",
    CorporateAction: "reference-data",
    ExchangeRate: "reference-data",
    FeatureRow: "features",
    LlmRequest: "llm-requests",
    SentimentScore: "sentiment",
    Prediction: "predictions",
    Signal: "signals",
    OrderProposal: "order-proposals",
    Order: "orders",
    OrderCancel: "orders",
    RiskFence: "orders",
    RiskEvent: "risk-events",
    RiskUsage: "risk-events",
    OrderRefusal: "order-refusals",
    Execution: "executions",
    GatewayStatus: "executions",
    OrderIntent: "order-intents",
    BrokerUpdate: "broker-updates",
    BrokerAccount: "broker-updates",
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
    DeadLetter: "dead-letters",
    LateRecord: "late-records",
    AuditHead: "audit-heads",
}
BY_SYMBOL: frozenset[type] = frozenset({Bar, Quote, Trade, FeatureRow, Prediction, Signal})
"""Record types whose topic is partitioned by symbol; all others are in partition 0 of their topic."""
EXTERNAL_RECORDS: frozenset[type] = frozenset(
    {Command, NewsItem, LlmAnswer, Fundamentals, CorporateAction, ExchangeRate, BrokerUpdate, BrokerAccount}
)
"""Records from outside the platform, other than market data. They have no `seq` and take effect at the next clock in
their log. A duplicate has the same id (its first field), and the stage that reads it discards it.
"""
UNCLOCKED_RECORDS: frozenset[type] = frozenset({DeadLetter, LateRecord, AuditHead})
"""Rejected records and audit heads: without a `seq`, in topics without a clock."""


def sequence_key(record: Record) -> str | None:
    """Return the key within which `seq` counts: the symbol in a topic by symbol, "" (the whole log) in other topics,
    None for a record without `seq`.
    """
    if type(record) in BY_SYMBOL:
        return record.symbol  # type: ignore[union-attr]
    return None if type(record) in EXTERNAL_RECORDS or type(record) in UNCLOCKED_RECORDS else ""


def bar_id(symbol: str, seq: int) -> str:
    return f"bar-{symbol}-{seq}"


def feature_id(symbol: str, seq: int) -> str:
    return f"feat-{symbol}-{seq}"


def prediction_id(symbol: str, seq: int) -> str:
    return f"pred-{symbol}-{seq}"


def sentiment_id(seq: int) -> str:
    return f"sent-{seq}"


def signal_id(symbol: str, seq: int) -> str:
    return f"sig-{symbol}-{seq}"


def proposal_id(seq: int) -> str:
    return f"prop-{seq}"


def weights_id(seq: int) -> str:
    return f"weights-{seq}"


def order_id(seq: int) -> str:
    return f"ord-{seq}"


def execution_id(seq: int) -> str:
    return f"exe-{seq}"
