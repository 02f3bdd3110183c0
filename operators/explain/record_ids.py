"""The id of each record, and the ids of the causes that it contains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from operators.adjustments import is_adjustment
from schemas.records import (
    Bar,
    BrokerActivity,
    CashFlow,
    CashTransfer,
    Command,
    Configuration,
    CorporateAction,
    DataRow,
    ExchangeRate,
    Execution,
    FeatureRow,
    Fundamentals,
    InternalCross,
    LlmAnswer,
    Lot,
    LotMatch,
    NewsItem,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    Position,
    Prediction,
    Quote,
    Record,
    RiskEvent,
    RiskFence,
    RiskUsage,
    SentimentScore,
    Signal,
    StrategyAccount,
    StrategyAction,
    StrategyPosition,
    StrategySuspension,
    StrategyWeights,
    TargetReduction,
    TradingSession,
    TradingStatus,
    Valuation,
    bar_id,
    feature_id,
    prediction_id,
    quote_id,
    sentiment_id,
    signal_id,
    suspension_id,
    weights_id,
)

_RECORD_IDS: dict[type, Callable[[Any], str]] = {
    Bar: lambda r: bar_id(r.symbol, r.seq),
    Quote: lambda r: quote_id(r.symbol, r.seq),
    FeatureRow: lambda r: feature_id(r.symbol, r.seq),
    Prediction: lambda r: prediction_id(r.symbol, r.seq),
    StrategyWeights: lambda r: weights_id(r.seq),
    Signal: lambda r: signal_id(r.symbol, r.seq),
    StrategySuspension: lambda r: suspension_id(r.symbol, r.seq),
    StrategyAction: lambda r: str(r.action_id),
    StrategyPosition: lambda r: f"strategy-position-{r.seq}",
    StrategyAccount: lambda r: f"strategy-account-{r.seq}",
    OrderProposal: lambda r: str(r.proposal_id),
    InternalCross: lambda r: str(r.cross_id),
    TargetReduction: lambda r: f"reduction-{r.seq}",
    Order: lambda r: str(r.order_id),
    RiskFence: lambda r: f"fence-{r.epoch}",
    OrderCancel: lambda r: f"cancel-{r.seq}",
    OrderRefusal: lambda r: f"refusal-{r.seq}",
    RiskEvent: lambda r: f"risk-event-{r.seq}",
    RiskUsage: lambda r: f"risk-usage-{r.seq}",
    Execution: lambda r: str(r.execution_id),
    CashTransfer: lambda r: str(r.transfer_id),
    CashFlow: lambda r: str(r.cash_flow_id),
    BrokerActivity: lambda r: str(r.update_id),
    Position: lambda r: f"position-{r.symbol}-{r.seq}",
    Lot: lambda r: str(r.lot_id),
    LotMatch: lambda r: str(r.match_id),
    Valuation: lambda r: f"valuation-{r.seq}",
    Command: lambda r: str(r.command_id),
    Configuration: lambda r: str(r.configuration_id),
    SentimentScore: lambda r: sentiment_id(r.seq),
    NewsItem: lambda r: str(r.news_id),
    LlmAnswer: lambda r: str(r.answer_id),
    Fundamentals: lambda r: str(r.fundamentals_id),
    CorporateAction: lambda r: str(r.action_id),
    ExchangeRate: lambda r: str(r.rate_id),
    TradingSession: lambda r: str(r.session_id),
    TradingStatus: lambda r: str(r.status_id),
    DataRow: lambda r: str(r.row_id),
}
_CAUSE_IDS: dict[type, Callable[[Any], list[str]]] = {
    FeatureRow: lambda r: [bar_id(r.symbol, r.bar_seq)],
    Prediction: lambda r: [r.feature_id],
    Signal: lambda r: [r.feature_id, *r.cause_ids],
    StrategySuspension: lambda r: [r.cause_id],
    StrategyAction: lambda r: list(r.cause_ids),
    SentimentScore: lambda r: [r.news_id, *([r.answer_id] if r.answer_id else [])],
    OrderProposal: lambda r: list(r.signal_ids),
    InternalCross: lambda r: list(r.cause_ids),
    TargetReduction: lambda r: [r.action_id],
    Order: lambda r: [r.cause_id],
    RiskFence: lambda r: [r.cause_id],
    OrderCancel: lambda r: [r.cause_id],
    OrderRefusal: lambda r: [r.cause_id],
    RiskEvent: lambda r: [r.cause_id],
    CashTransfer: lambda r: [r.cause_id],
    CashFlow: lambda r: [r.cause_id] if r.cause_id else [],
    Execution: lambda r: [
        r.cause_id if is_adjustment(r.order_id) else r.order_id,
        *([bar_id(r.symbol, r.bar_seq)] if r.bar_seq else []),
    ],
    Position: lambda r: [r.execution_id],
    Lot: lambda r: [r.execution_id],
    LotMatch: lambda r: [r.open_execution_id, r.close_execution_id],
}


def record_id_of(record: Record) -> str:
    """Return the id of a record. For a record without an id field, the id is built from its type and `seq`.

    >>> record_id_of(RiskFence(1, 60, 2, "HALTED", "test", "c1"))
    'fence-2'
    """
    id_of_type = _RECORD_IDS.get(type(record))
    return type(record).__name__ if id_of_type is None else id_of_type(record)


def cause_ids_of(record: Record) -> list[str]:
    """Return the ids of the causes that a record contains."""
    ids_of_type = _CAUSE_IDS.get(type(record))
    return [] if ids_of_type is None else ids_of_type(record)


def split_record_id(record_id: str) -> tuple[str, int]:
    """Split a per-symbol record id into symbol and seq.

    >>> split_record_id("sig-BRK-B-7")
    ('BRK-B', 7)
    """
    _, _, symbol_and_seq = record_id.partition("-")
    symbol, _, seq = symbol_and_seq.rpartition("-")
    return symbol, int(seq)
