"""Build each service's stage from the settings, for live trading, paper trading and backtests alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from configs.indicator_files import register_indicator_files
from configs.model_registry import serving_model
from configs.settings import Settings
from configs.strategies import ConfiguredStrategies, configured_features, configured_strategies, portfolio_settings
from configs.universe_files import universe_members
from operators.features import FeatureStage
from operators.feedback import FeedbackStage
from operators.gateway import GatewayStage
from operators.handler_limit import HandlerLimit
from operators.indicators import build
from operators.portfolio import PortfolioStage
from operators.predictions import PredictionStage
from operators.risk import RiskStage
from operators.risk.last_price import OpenTime
from operators.sentiment import SentimentStage
from operators.signals import SignalStage
from operators.signals.ensemble import LEARNED
from operators.stage import Stage
from operators.trading.accounts import StrategyAccounts
from operators.trading.idle import IdleStrategies
from operators.trading.intervals import SECOND_NS, interval_text
from operators.trading.market_events import TOPICS
from operators.trading.settings import TradingSettings
from operators.trading_loop import Analysis, LearningLoop, StrategiesStage, TradingLoop
from operators.venue import VenueStage
from schemas.records import TOPIC_OF, Trade

if TYPE_CHECKING:
    from dataflows.sources.trading_calendar import TradingCalendar


def feature_specs(settings: Settings) -> tuple[str, ...]:
    """Return the configured indicators and those that the strategies and the serving model need, without repeats."""
    serving = serving_model(settings.predictions.registry, settings.predictions.model)
    model_features = () if serving is None else serving[1].features
    return tuple(dict.fromkeys([*configured_features(settings), *model_features]))


def features(
    settings: Settings, limit: HandlerLimit | None = None, *, specs: tuple[str, ...] | None = None
) -> Callable[[], Stage]:
    """Compute the indicators of `specs`, by default those of `feature_specs`.

    `limit` is that of the time of the user's own indicators; a replay has none.
    """
    specs = feature_specs(settings) if specs is None else specs
    if not any(component.reads_sessions for spec in specs for component in build(spec).components):
        return lambda: FeatureStage(specs, limit=limit)
    # Imported here because it imports NumPy, which features without sessions do not need.
    from dataflows.sources.trading_calendar import session_table

    sessions = session_table("24/7" if settings.is_continuous_market() else "XNYS")
    return lambda: FeatureStage(specs, sessions, limit)


def signals(settings: Settings, limit: HandlerLimit | None = None) -> Callable[[], Stage]:
    """Run the view strategies of the settings. `limit` is that of their time; a replay has none."""
    strategies = configured_strategies(settings)
    ensemble, approvals = settings.signals.ensemble, settings.risk_manager.approvals
    on_remove, hashes = settings.signals.on_remove, strategies.source_sha256
    return lambda: SignalStage(
        strategies.views, ensemble, strategies.flatten_on_error, approvals, limit, hashes, on_remove
    )


def strategies(settings: Settings, limit: HandlerLimit | None = None) -> Callable[[], Stage]:
    """Run the trading strategies of the settings. Without any, book the sub-accounts of those that ran before.

    `limit` is that of their handlers' time; a replay has none.
    """
    return trading_strategies(settings, limit) or _idle_strategies(settings)


def _idle_strategies(settings: Settings) -> Callable[[], IdleStrategies]:
    return lambda: IdleStrategies(lambda: _trading_stage(settings)())


def trading_strategies(settings: Settings, limit: HandlerLimit | None = None) -> Callable[[], StrategiesStage] | None:
    """Return the stage of the trading strategies; None if the settings have none.

    Their universe is every symbol that has had a bar, so that a backtest on recorded topics has that of the live feed.
    """
    configured = configured_strategies(settings)
    return _trading_stage(settings, limit) if configured.trading or configured.limited_views else None


def _trading_stage(settings: Settings, limit: HandlerLimit | None = None) -> Callable[[], StrategiesStage]:
    configured = configured_strategies(settings)
    # Imported here because both import NumPy, which a platform without trading strategies does not need.
    from dataflows.sources.trading_calendar import session_table
    from operators.trading.stage import TradingStrategyStage

    market = settings.market_data
    trading = replace(
        _account_settings(settings, configured),
        bar_interval=interval_text(market.bar_interval_s() * SECOND_NS),
        has_trades=market.has_trades(),
        regular_trades=settings.feed_session() == "regular",
        calendar=settings.trading_calendar(),
        sessions={name: session_table(name) for name in ("XNYS", "24/7")},
        universe_files=universe_members(configured.trading),
    )
    instruments = settings.traded_instruments()
    return lambda: TradingStrategyStage(configured.trading, trading, instruments, limit)


def unread_topics(settings: Settings) -> frozenset[str]:
    """Return the inputs of the strategies service that none of its strategies needs."""
    new_stage = trading_strategies(settings)
    optional = {*TOPICS.values(), TOPIC_OF[Trade]}
    return frozenset(optional).difference(() if new_stage is None else new_stage().event_topics)


def _account_settings(settings: Settings, configured: ConfiguredStrategies) -> TradingSettings:
    """Return what the sub-accounts of the trading strategies need. Risk books them too."""
    portfolio = settings.portfolio()
    return TradingSettings(
        initial_capital=portfolio.initial_capital,
        currency=portfolio.currency,
        capital=configured.capital,
        limits=configured.limits,
        flatten_on_error=configured.flatten_on_error,
        accruals=portfolio.accruals,
        approvals=settings.risk_manager.approvals,
        limited_views=configured.limited_views,
        on_remove=settings.signals.on_remove,
        source_sha256=configured.source_sha256,
    )


def portfolio(settings: Settings) -> Callable[[], Stage]:
    portfolio, instruments = portfolio_settings(settings), settings.traded_instruments()
    limited_views = configured_strategies(settings).limited_views
    return lambda: PortfolioStage(portfolio, instruments, limited_views)


def risk(settings: Settings, *, lists_checks: bool = True) -> Callable[[], Stage]:
    """Return the risk stage. Without `lists_checks`, orders do not list the results of their checks."""
    open_time, configured = _open_time(settings.feed_session()), configured_strategies(settings)
    names = [*(strategy.name for strategy in configured.trading), *configured.limited_views]
    accounts, instruments = _account_settings(settings, configured), settings.traded_instruments()
    return lambda: RiskStage(
        settings.risk(),
        open_time,
        StrategyAccounts(names, accounts, instruments),
        configured.limits,
        lists_checks=lists_checks,
    )


def _open_time(session: str) -> OpenTime:
    """Return a function that computes the open time from the sessions of the feed."""

    @cache
    def calendar() -> TradingCalendar:
        # Imported here because the calendar is slow to load, and risk needs it only for an order without a recent bar.
        from dataflows.sources.trading_calendar import TradingCalendar

        return TradingCalendar("XNYS", "regular" if session == "regular" else "extended")

    return lambda from_ns, to_ns: calendar().open_time_ns(from_ns, to_ns)


def execution(settings: Settings) -> Callable[[], Stage]:
    """Return the gateway to a broker, or the simulated venue."""
    if settings.execution.broker == "alpaca":
        return lambda: GatewayStage(settings.gateway())
    session_end = None
    if not settings.is_continuous_market():
        # Imported here because it imports NumPy, which the services without the venue do not need.
        from dataflows.sources.trading_calendar import TradingCalendar

        session_end = TradingCalendar("XNYS").session_end
    currency, approvals = settings.portfolio_manager.currency, settings.risk_manager.approvals
    return lambda: VenueStage(settings.venue(), currency, session_end, approvals)


def sentiment(settings: Settings) -> Callable[[], Stage]:
    return lambda: SentimentStage(settings.sentiment)


def predictions(settings: Settings, limit: HandlerLimit | None = None) -> Callable[[], Stage]:
    """Load the serving model once, if there is one. It has no state, so all shards share it.

    `limit` is that of the time of its calls; a replay has none.
    """
    serving = serving_model(settings.predictions.registry, settings.predictions.model)
    if serving is None:
        return lambda: PredictionStage(None)
    register_indicator_files(settings.features.indicator_files)
    registry, card = serving
    model = registry.load(card)
    return lambda: PredictionStage(model, limit)


def feedback(settings: Settings) -> Callable[[], Stage]:
    strategies = configured_strategies(settings)
    names = [strategy.name for strategy in strategies.views]
    with_accounts = [*(strategy.name for strategy in strategies.trading), *strategies.limited_views]
    listed, currency = settings.instruments.listed, settings.portfolio_manager.currency
    venue = settings.execution.venue
    slippage_bps = float(venue.slippage_bps) if venue.slippage_model == "fixed" else 0.0
    return lambda: FeedbackStage(settings.feedback, names, listed, currency, slippage_bps, with_accounts)


def analysis(
    settings: Settings, limit: HandlerLimit | None = None, *, limits_indicators: bool = True
) -> Callable[[], Stage]:
    """Return the per-symbol stages as one stage, for the fused backtest.

    `limit` is that of the time of the model's calls and, with `limits_indicators`, of the user's own indicators.
    """
    make_features = features(settings, limit if limits_indicators else None)
    make_predictions = predictions(settings, limit)
    return lambda: Analysis(make_features(), make_predictions())


def trading_loop(
    settings: Settings, limit: HandlerLimit | None = None, *, lists_checks: bool = True, with_idle: bool = False
) -> Callable[[], TradingLoop]:
    """Return execution, the trading strategies, portfolio and risk as one stage.

    `with_idle`: also book the sub-accounts of strategies that the settings no longer have, as the service does.
    Without `lists_checks`, orders do not list the results of their risk checks.
    """
    make_strategies: Callable[[], StrategiesStage] | None = trading_strategies(settings, limit)
    if make_strategies is None and with_idle:
        make_strategies = _idle_strategies(settings)
    return lambda: TradingLoop(
        execution(settings)(),
        portfolio(settings)(),
        risk(settings, lists_checks=lists_checks)(),
        None if make_strategies is None else make_strategies(),
    )


def decision_loop(
    settings: Settings,
    limit: HandlerLimit | None = None,
    *,
    explains: bool = True,
    with_idle: bool = False,
    limits_views: bool = False,
) -> Callable[[], Stage]:
    """Return all stages after the analysis as one stage, for the fused backtest.

    `limit` is that of the handlers of trading strategies and, with `limits_views`, of view strategies. `with_idle` is
    as in `trading_loop`. Without `explains`, the loop makes the same decisions, but leaves out records that only
    explain them: the results of risk checks in orders and, unless the ensemble learns its weights, the feedback stage.
    """
    make_signals = signals(settings, limit if limits_views else None)
    make_loop = trading_loop(settings, limit, lists_checks=explains, with_idle=with_idle)
    ensemble = settings.signals.ensemble
    has_feedback = explains or (ensemble.enabled and ensemble.weights == LEARNED)
    return lambda: LearningLoop(
        sentiment(settings)(), make_signals(), make_loop(), feedback(settings)() if has_feedback else None
    )
