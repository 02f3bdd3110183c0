"""Metrics of strategies (P&L, weights) and models (status, age, scores of their forecasts)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prometheus_client.core import Metric
from sqlalchemy import Connection, Engine, RowMapping, desc, func, select

from api.metrics.collector import Labels, Value, gauge, single
from api.strategies import DatedStrategyShare, latest_shares
from api.strategy_accounts import last_accounts
from configs.model_registry import ModelRegistry
from configs.settings import Settings
from sinks.suspensions import suspended_strategies
from sinks.tables import attribution, dead_letters, model_scores, predictions, valuations, weights

ANALYSIS_WINDOW_NS = 86_400 * 1_000_000_000
"""How long the metrics show a suspended indicator or model, in event time."""
HASH_DIGITS_SHOWN = 12
"""Digits of a model's sha256 in its label, as in the commands."""


class StrategyMetrics:
    """The last attribution, weights and sub-accounts, and the suspended strategies."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> list[Metric]:
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as db:
            shares = latest_shares(db)
            at_ns = db.execute(select(func.max(attribution.c.ts_ns))).scalar()
            suspensions = suspended_strategies(db)
            accounts = last_accounts(db)
            components = dict.fromkeys(_suspended_analysis(db), 1)
            latest_weights = db.execute(select(weights.c.weights).order_by(desc(weights.c.seq)).limit(1)).scalar() or {}
        weight_values: dict[Labels, Value] = {(name,): weight for name, weight in sorted(latest_weights.items())}
        return [
            *_attribution_metrics(shares),
            *_account_metrics(accounts),
            gauge(
                "platform_strategy_suspended",
                "1 for a suspended strategy, with the symbol, the error and the position in its source file",
                ("strategy", "symbol", "error", "position"),
                {(s.strategy, s.symbol, s.error_type, f"{s.file}:{s.line}"): 1 for s in suspensions},
            ),
            gauge(
                "platform_analysis_suspended",
                "1 for an indicator or model that failed on this symbol within the last day",
                ("component", "symbol"),
                components,
            ),
            single(
                "platform_strategy_attributed_timestamp_seconds",
                "event time of the last attribution",
                None if at_ns is None else at_ns / 1e9,
            ),
            gauge(
                "platform_strategy_weight",
                "weight in the ensemble, in [0, 1]",
                ("strategy",),
                weight_values,
            ),
        ]


def _suspended_analysis(db: Connection) -> list[tuple[str, ...]]:
    """Return (indicator or model, symbol) of the failures within `ANALYSIS_WINDOW_NS` before the last valuation."""
    newest_ns = db.execute(select(func.max(valuations.c.ts_ns))).scalar() or 0
    topics = db.execute(
        select(dead_letters.c.topic).where(
            dead_letters.c.topic.regexp_match("^(indicator|model):"),
            dead_letters.c.ts_ns > newest_ns - ANALYSIS_WINDOW_NS,
        )
    ).scalars()
    return [tuple(topic.rsplit("/", 1)) for topic in topics]


def _attribution_metrics(shares: Sequence[DatedStrategyShare]) -> list[Metric]:
    names = {"realized": "realized_pnl", "unrealized": "unrealized_pnl", "fees": "fees", "cash_flows": "cash_flows"}
    parts: dict[Labels, Value] = {
        (share.strategy, part): float(getattr(share, name)) for share in shares for part, name in names.items()
    }
    total: dict[Labels, Value] = {(share.strategy,): float(share.total_pnl) for share in shares}
    return [
        gauge(
            "platform_strategy_attributed_pnl",
            "share of the ledger's P&L by part: realized, unrealized, fees (a cost, above 0), cash_flows",
            ("strategy", "part"),
            parts,
        ),
        gauge(
            "platform_strategy_total_pnl",
            "realized + unrealized - fees + cash flows; the sum over all strategies is the ledger's P&L",
            ("strategy",),
            total,
        ),
    ]


def _account_metrics(accounts: Sequence[RowMapping]) -> list[Metric]:
    """Return the figures of the trading strategies' sub-accounts."""
    figures = {
        "equity": "value of a trading strategy's sub-account",
        "capital": "share of the initial capital of a trading strategy, and of deposits minus withdrawals",
        "open_positions": "open positions of a trading strategy",
    }
    return [
        gauge(
            f"platform_strategy_{figure}",
            meaning,
            ("strategy",),
            {(account["strategy"],): float(account[figure]) for account in accounts},
        )
        for figure, meaning in figures.items()
    ]


class ModelMetrics:
    """The registered models, their scores, and the forecasts of the last time slice with forecasts."""

    def __init__(self, settings: Settings, engine: Engine, home: Path) -> None:
        folder = settings.predictions.registry
        self._engine, self._registry = engine, ModelRegistry(home / "models" if folder is None else folder)

    def read(self) -> list[Metric]:
        """Raises BadInput if the registry is unreadable."""
        newest = select(func.max(model_scores.c.seq)).group_by(model_scores.c.model_hash)
        last = select(predictions).where(predictions.c.ts_ns == select(func.max(predictions.c.ts_ns)).scalar_subquery())
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as db:
            scores = db.execute(select(model_scores).where(model_scores.c.seq.in_(newest))).mappings().all()
            forecasts = db.execute(last).mappings().all()
        return [*self._registered(), *_score_metrics(scores), *_forecast_metrics(forecasts)]

    def _registered(self) -> list[Metric]:
        cards = self._registry.cards()
        info: dict[Labels, Value] = {
            (card.name, card.sha256[:HASH_DIGITS_SHOWN], self._registry.status(card.sha256)): 1 for card in cards
        }
        trained_until: dict[Labels, Value] = {
            (card.name, card.sha256[:HASH_DIGITS_SHOWN]): card.trained_until_ns / 1e9 for card in cards
        }
        return [
            gauge(
                "platform_model_info",
                "1 for each registered model; the status is active, registered or retired",
                ("model", "sha256", "status"),
                info,
            ),
            gauge(
                "platform_model_trained_until_timestamp_seconds",
                "event time of the last training row",
                ("model", "sha256"),
                trained_until,
            ),
        ]


def _score_metrics(rows: Sequence[RowMapping]) -> list[Metric]:
    meanings = {
        "predictions": ("platform_model_predictions_judged", "forecasts whose horizon has passed"),
        "hit_rate": ("platform_model_hit_rate_ratio", "share of right signs where the price moved"),
        "brier": ("platform_model_brier_score", "mean squared error of the probability; 0.25 is no better than chance"),
        "drift": ("platform_model_drift", "highest drift between the last two scores; 0 is the training distribution"),
    }
    return [
        gauge(
            name,
            meaning,
            ("model", "sha256"),
            {(row["model"], row["model_hash"][:HASH_DIGITS_SHOWN]): row[column] for row in rows},
        )
        for column, (name, meaning) in meanings.items()
    ]


def _forecast_metrics(rows: Sequence[RowMapping]) -> list[Metric]:
    drift = {(row["symbol"],): row["drift"] for row in rows}
    return [
        single("platform_predictions_last_tick", "forecasts of the last time slice with forecasts", len(rows)),
        gauge(
            "platform_prediction_drift", "drift of the last forecasts, from 0 (none) to 1 (certain)", ("symbol",), drift
        ),
    ]
