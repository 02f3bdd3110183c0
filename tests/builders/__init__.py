"""Builders of records for tests: a test sets the fields that matter to it, the others have simple defaults."""

from __future__ import annotations

from tests.builders.analysis import feature_row, model_score, prediction, sentiment_score, signal, signal_outcome
from tests.builders.external import (
    broker_account,
    broker_update,
    command,
    configuration,
    corporate_action,
    dead_letter,
    exchange_rate,
    fundamentals,
    llm_answer,
    news_item,
    trading_status,
)
from tests.builders.ledger import (
    attribution,
    cash_flow,
    cash_transfer,
    lot_match,
    position,
    strategy_account,
    valuation,
)
from tests.builders.market import bar, quote
from tests.builders.trading import (
    approved,
    execution,
    fence,
    order,
    order_cancel,
    proposal,
    refusal,
    report,
    strategy_action,
)

__all__ = [
    "approved",
    "attribution",
    "bar",
    "broker_account",
    "broker_update",
    "cash_flow",
    "cash_transfer",
    "command",
    "configuration",
    "corporate_action",
    "dead_letter",
    "exchange_rate",
    "execution",
    "feature_row",
    "fence",
    "fundamentals",
    "llm_answer",
    "lot_match",
    "model_score",
    "news_item",
    "order",
    "order_cancel",
    "position",
    "prediction",
    "proposal",
    "quote",
    "refusal",
    "report",
    "sentiment_score",
    "signal",
    "signal_outcome",
    "strategy_account",
    "strategy_action",
    "trading_status",
    "valuation",
]
