"""Each service's stage made from the settings. Live, paper and backtest all come through here."""

from __future__ import annotations

from collections.abc import Callable

from configs.settings import Settings
from configs.strategies import feature_specs, load_strategies
from operators.features import FeatureStage
from operators.portfolio import PortfolioStage
from operators.risk import RiskStage
from operators.signals import SignalStage
from operators.stage import Stage
from operators.trading_loop import TradingLoop
from operators.venue import VenueStage


def features(settings: Settings) -> Callable[[], Stage]:
    """Computes what is configured and what the strategies need."""
    strategies = load_strategies([entry.model_dump() for entry in settings.signals.strategies])
    specs = feature_specs(strategies, settings.features.indicators)
    return lambda: FeatureStage(specs)


def signals(settings: Settings) -> Callable[[], Stage]:
    strategies = load_strategies([entry.model_dump() for entry in settings.signals.strategies])
    return lambda: SignalStage(strategies)


def portfolio(settings: Settings) -> Callable[[], Stage]:
    return lambda: PortfolioStage(settings.portfolio(), settings.instruments)


def risk(settings: Settings) -> Callable[[], Stage]:
    return lambda: RiskStage(settings.risk())


def execution(settings: Settings) -> Callable[[], Stage]:
    return lambda: VenueStage(settings.venue())


def trading_loop(settings: Settings) -> Callable[[], Stage]:
    """Execution, portfolio and risk as one stage, for the fused backtest."""
    return lambda: TradingLoop(execution(settings)(), portfolio(settings)(), risk(settings)())
