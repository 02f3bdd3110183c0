"""Each service's stage made from the settings. Live, paper and backtest all come through here."""

from __future__ import annotations

from collections.abc import Callable

from configs.settings import Settings
from configs.strategies import feature_specs, load_strategies
from operators.features import FeatureStage
from operators.feedback import FeedbackStage
from operators.gateway import GatewayStage
from operators.portfolio import PortfolioStage
from operators.predictions import PredictionStage
from operators.risk import RiskStage
from operators.sentiment import SentimentStage
from operators.signals import SignalStage
from operators.stage import Stage
from operators.trading_loop import Analysis, LearningLoop, TradingLoop
from operators.venue import VenueStage


def features(settings: Settings) -> Callable[[], Stage]:
    """Computes what is configured and what the strategies need."""
    strategies = load_strategies([entry.model_dump() for entry in settings.signals.strategies])
    specs = feature_specs(strategies, settings.features.indicators)
    return lambda: FeatureStage(specs)


def signals(settings: Settings) -> Callable[[], Stage]:
    strategies = load_strategies([entry.model_dump() for entry in settings.signals.strategies])
    ensemble = settings.signals.ensemble
    return lambda: SignalStage(strategies, ensemble)


def portfolio(settings: Settings) -> Callable[[], Stage]:
    return lambda: PortfolioStage(settings.portfolio(), settings.instruments)


def risk(settings: Settings) -> Callable[[], Stage]:
    return lambda: RiskStage(settings.risk())


def execution(settings: Settings) -> Callable[[], Stage]:
    """The simulated venue, or the gateway to a broker."""
    if settings.execution.broker == "alpaca":
        return lambda: GatewayStage(settings.gateway())
    return lambda: VenueStage(settings.venue())


def sentiment(settings: Settings) -> Callable[[], Stage]:
    return lambda: SentimentStage(settings.sentiment)


def predictions(settings: Settings) -> Callable[[], Stage]:
    return lambda: PredictionStage(None)


def feedback(settings: Settings) -> Callable[[], Stage]:
    return lambda: FeedbackStage(settings.feedback)


def analysis(settings: Settings) -> Callable[[], Stage]:
    """What is done symbol by symbol, as one stage, for the fused backtest."""
    make_features, make_predictions = features(settings), predictions(settings)
    return lambda: Analysis(make_features(), make_predictions())


def trading_loop(settings: Settings) -> Callable[[], Stage]:
    """Execution, portfolio and risk as one stage."""
    return lambda: TradingLoop(execution(settings)(), portfolio(settings)(), risk(settings)())


def deciding(settings: Settings) -> Callable[[], Stage]:
    """All that stands behind the analysis, as one stage, for the fused backtest."""
    make_signals = signals(settings)
    return lambda: LearningLoop(sentiment(settings)(), make_signals(), trading_loop(settings)(), feedback(settings)())
