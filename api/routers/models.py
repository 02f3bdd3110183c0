"""Strategies and models: P&L by strategy, weights, registered models and their forecasts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import desc, func, select

from api.json_types import Amount, ApiModel, utc
from api.problems import NotFound
from api.resources import Db, ResourcesDep
from api.routers import PREFIX
from api.strategies import StrategyShare, latest_shares
from configs.model_registry import ModelCard, ModelRegistry
from sinks.tables import attribution, model_scores, predictions, valuations, weights

PREDICTIONS_MAX = 1000

router = APIRouter(prefix=PREFIX, tags=["strategies and models"])


class AttributionState(ApiModel):
    """The last attribution, by strategy. The rows sum to the ledger at `last_updated`, which is null before the first
    one.

    `ledger_pnl` is the P&L of the portfolio's valuation at that time: equity minus initial capital.
    """

    last_updated: str | None
    ledger_pnl: Amount | None
    strategies: list[StrategyShare]


class Weights(ApiModel):
    """The weights of the strategies that feedback learned. Empty before the first ones."""

    last_updated: str | None
    weights: dict[str, float]
    scores: dict[str, float]
    reason: str


class LiveScore(ApiModel):
    """Scores of a model's predictions whose horizon has passed."""

    predictions: int
    hit_rate: float
    brier: float
    drift: float
    last_updated: str


class ModelState(ApiModel):
    """A registered model. `status` is active, registered or retired. `live` is null until the horizon of a prediction
    has passed.
    """

    sha256: str
    name: str
    status: str
    features: list[str]
    horizon_bars: int
    rows: int
    trained_from: str
    trained_until: str
    data_sha256: str
    metrics: dict[str, float]
    live: LiveScore | None


class PredictionOut(ApiModel):
    """A forecast of the return over the next `horizon_bars` bars from `timestamp`. Returns are fractions."""

    timestamp: str
    model: str
    model_hash: str
    horizon_bars: int
    expected_return: float
    probability_up: float
    drift: float
    feature_id: str


@router.get("/portfolio/attribution")
def get_attribution(db: Db, resources: ResourcesDep) -> AttributionState:
    """The last attribution of the ledger's P&L by strategy."""
    shares = latest_shares(db)
    last_attributed = select(func.max(attribution.c.ts_ns)).scalar_subquery()
    without_flows = valuations.c.equity - valuations.c.net_flows
    valuation_query = select(without_flows).where(valuations.c.ts_ns <= last_attributed)
    equity = db.execute(valuation_query.order_by(desc(valuations.c.ts_ns), desc(valuations.c.seq)).limit(1)).scalar()
    return AttributionState(
        last_updated=shares[0].last_updated if shares else None,
        ledger_pnl=None if equity is None else equity - resources.settings.portfolio_manager.initial_capital,
        strategies=[StrategyShare(**share.model_dump(exclude={"last_updated"})) for share in shares],
    )


@router.get("/strategies/weights")
def get_weights(db: Db) -> Weights:
    """The latest weights of the strategies."""
    row = db.execute(select(weights).order_by(desc(weights.c.seq)).limit(1)).mappings().first()
    if row is None:
        return Weights(last_updated=None, weights={}, scores={}, reason="")
    return Weights(last_updated=utc(row["ts_ns"]), weights=row["weights"], scores=row["scores"], reason=row["reason"])


@router.get("/models")
def get_models(db: Db, resources: ResourcesDep) -> list[ModelState]:
    """The registered models, newest training data first."""
    folder = resources.settings.predictions.registry
    registry = ModelRegistry(resources.home / "models" if folder is None else folder)
    newest = select(model_scores.c.model_hash, func.max(model_scores.c.seq).label("seq")).group_by(
        model_scores.c.model_hash
    )
    last = newest.subquery()
    scored = db.execute(select(model_scores).join(last, model_scores.c.seq == last.c.seq)).mappings()
    live = {row["model_hash"]: row for row in scored}
    return [_model(registry, card, live.get(card.sha256)) for card in reversed(registry.cards())]


@router.get("/predictions/{symbol}")
def get_predictions(
    symbol: str, db: Db, limit: Annotated[int, Query(ge=1, le=PREDICTIONS_MAX)] = 100
) -> list[PredictionOut]:
    """The last forecasts of a symbol, newest first. 404 for a symbol without forecasts."""
    query = select(predictions).where(predictions.c.symbol == symbol).order_by(desc(predictions.c.seq)).limit(limit)
    rows = list(db.execute(query).mappings())
    if not rows:
        raise NotFound(f"No predictions for {symbol}.")
    names = [name for name in PredictionOut.model_fields if name != "timestamp"]
    return [PredictionOut(timestamp=utc(row["ts_ns"]), **{name: row[name] for name in names}) for row in rows]


def _model(registry: ModelRegistry, card: ModelCard, row: Any) -> ModelState:
    live = None
    if row is not None:
        names = ("predictions", "hit_rate", "brier", "drift")
        live = LiveScore(**{name: row[name] for name in names}, last_updated=utc(row["ts_ns"]))
    return ModelState(
        sha256=card.sha256,
        name=card.name,
        status=registry.status(card.sha256),
        features=list(card.features),
        horizon_bars=card.horizon_bars,
        rows=card.rows,
        trained_from=utc(card.trained_from_ns),
        trained_until=utc(card.trained_until_ns),
        data_sha256=card.data_sha256,
        metrics=card.metrics,
        live=live,
    )
