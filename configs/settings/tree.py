"""The tree of all settings, the checks across its sections, and views that combine several sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from configs.alerts import AlertsSection
from configs.settings.analysis import (
    BacktestSection,
    FeaturesSection,
    PredictionsSection,
    SignalsSection,
    StrategyEntry,
)
from configs.settings.execution import AlpacaSection, ExecutionSection
from configs.settings.feeds import EXTRA_FILE_KINDS, FundamentalsSection, MarketDataSection, NewsSection, PolygonSection
from configs.settings.platform import ApiSection, PlatformSection
from configs.settings.sections import Section, parse_seconds
from configs.settings.stores import DatabaseSection, KafkaSection
from operators.bar_completion import Calendar, FileSessions
from operators.feedback import FeedbackSettings
from operators.gateway import GatewaySettings
from operators.instruments import NO_INSTRUMENTS, UNLISTED, Instruments, unlisted_with_steps
from operators.ledger.cash import AccrualSettings
from operators.money import NANO
from operators.performance_metrics import DAYS_A_YEAR, TRADING_DAYS_A_YEAR
from operators.portfolio import PortfolioSettings
from operators.risk.settings import RiskSettings
from operators.sentiment import SentimentSettings
from operators.signals.ensemble import ENSEMBLE
from operators.venue import VenueSettings
from schemas.records import POST, PRE


def _rebalance_in_seconds(value: Any) -> Any:
    """Convert `rebalance_frequency` (a duration such as "1h") to `rebalance_interval_s`."""
    if not isinstance(value, Mapping) or "rebalance_frequency" not in value:
        return value
    rest = {key: entry for key, entry in value.items() if key != "rebalance_frequency"}
    return rest | {"rebalance_interval_s": parse_seconds(value["rebalance_frequency"])}


class Settings(Section):
    """All settings. `instruments` to `feedback` affect trading decisions; the other sections only configure operations.

    instruments        steps, margin, sector and other terms of the tradable symbols
    market_data        the feed of bars and quotes
    news               the source of headlines in addition to the files of `market_data.files`
    fundamentals       the source of company filings in addition to the files of `market_data.files`
    features           indicators that are computed for every symbol
    sentiment          scores of headlines
    predictions        the model that makes the predictions
    signals            the strategies and how their views are combined
    portfolio_manager  capital, position sizes and order types
    risk_manager       limits that every order must pass, and circuit breakers
    alpaca             keys and address of the account at Alpaca
    polygon            key and addresses of the account at Polygon
    execution          the broker or the simulated venue
    feedback           evaluation of signals and learned weights
    backtest           input of `python -m bytewax.run dataflows.backtest`
    platform           snapshots, scheduled checks, dead letters and the log
    api                tokens, rates and origins of the HTTP API
    alerts             thresholds, severities and channels of the alerts
    database           PostgreSQL and Redis
    kafka              the Kafka cluster and its topics
    """

    instruments: Instruments = NO_INSTRUMENTS
    market_data: MarketDataSection = MarketDataSection()
    news: NewsSection = NewsSection()
    fundamentals: FundamentalsSection = FundamentalsSection()
    features: FeaturesSection = FeaturesSection()
    sentiment: SentimentSettings = SentimentSettings()
    predictions: PredictionsSection = PredictionsSection()
    signals: SignalsSection = SignalsSection()
    portfolio_manager: Annotated[PortfolioSettings, BeforeValidator(_rebalance_in_seconds)] = PortfolioSettings()
    risk_manager: RiskSettings = RiskSettings()
    alpaca: AlpacaSection = AlpacaSection()
    polygon: PolygonSection = PolygonSection()
    execution: ExecutionSection = ExecutionSection()
    feedback: FeedbackSettings = FeedbackSettings()
    backtest: BacktestSection = BacktestSection()
    platform: PlatformSection = PlatformSection()
    api: ApiSection = ApiSection()
    alerts: AlertsSection = AlertsSection()
    database: DatabaseSection
    kafka: KafkaSection

    def for_backtest(self) -> Settings:
        """Return the settings for a backtest: files as the feed and the simulated venue in paper mode.

        For speed, limit usage is not recorded (a report per minute costs a third of the speed), and attribution runs at
        most once per hour (every five minutes it costs a fifth).
        """
        files = self.market_data.model_copy(update={"feed": "files"})
        execution = self.execution.model_copy(update={"broker": "simulated", "mode": "paper"})
        risk_manager = replace(self.risk_manager, usage_interval_s=0)
        interval_s = self.feedback.attribution_interval_s
        feedback = replace(self.feedback, attribution_interval_s=max(interval_s, 3600) if interval_s else 0)
        return self.model_copy(
            update={
                "market_data": files,
                "risk_manager": risk_manager,
                "execution": execution,
                "feedback": feedback,
            },
        )

    def with_files(self, files_by_kind: Mapping[str, Sequence[Path]]) -> Settings:
        """Return settings with these files, by kind, instead of the configured ones. An empty kind is unchanged."""
        replacements: dict[str, Any] = {kind: tuple(paths) for kind, paths in files_by_kind.items() if paths}
        assert replacements.keys() <= set(EXTRA_FILE_KINDS), f"unknown kinds of files in {sorted(replacements)}"
        return self.with_file_feed(replacements)

    def with_file_feed(self, values: Mapping[str, Any]) -> Settings:
        """Return settings with these values of `market_data.files`. Raises BadInput for an invalid one."""
        files = replace(self.market_data.files, **values)
        return self.model_copy(update={"market_data": self.market_data.model_copy(update={"files": files})})

    def with_strategies(
        self,
        names: Sequence[str],
        parameters: Mapping[str, Any] | None = None,
        by_symbol: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Settings:
        """Return settings with these strategies instead of the configured ones, each with the same `parameters`."""
        own = {symbol: dict(one) for symbol, one in (by_symbol or {}).items()}
        strategies = tuple(
            StrategyEntry(name=name, parameters=dict(parameters or {}), parameters_by_symbol=own) for name in names
        )
        return self.model_copy(update={"signals": self.signals.model_copy(update={"strategies": strategies})})

    def allowing_in_sample(self) -> Settings:
        """Return settings with which a backtest may use a model on the bars that it was trained on."""
        return self.model_copy(update={"backtest": self.backtest.model_copy(update={"allow_in_sample": True})})

    def traded_instruments(self) -> Instruments:
        """Return the instruments with the steps of undefined symbols, unless the settings define these symbols.

        They trade in whole shares and cents, or in finer steps that the portfolio is set to. On a 24/7 calendar of
        files, or with Alpaca's crypto prices, they trade in fractions of up to nine decimals.
        """
        if self.instruments.unlisted != UNLISTED:
            return self.instruments
        portfolio = self.portfolio_manager
        if self.is_continuous_market():
            unlisted = unlisted_with_steps(NANO, NANO)
        else:
            lot_size = min(UNLISTED.lot_size, portfolio.sizing.lot_size)
            unlisted = unlisted_with_steps(lot_size, min(UNLISTED.tick_size, portfolio.tick_size))
        return replace(self.instruments, unlisted=unlisted)

    def is_continuous_market(self) -> bool:
        """Whether the market never closes: files on a 24/7 calendar, or Alpaca's crypto prices."""
        market = self.market_data
        return (market.feed == "files" and market.files.calendar == "24/7") or market.alpaca.asset_class == "crypto"

    def trading_calendar(self) -> Calendar:
        """Return the name of the calendar of the market."""
        return "24/7" if self.is_continuous_market() else "XNYS"

    def feed_session(self) -> FileSessions:
        """Return the sessions of the feed: regular, extended, or auto for files whose sessions are not recognized."""
        market = self.market_data
        return market.files.session if market.feed == "files" else market.live.session

    def days_a_year(self) -> int:
        """Return the number of daily returns a year, which annualizes the performance."""
        return DAYS_A_YEAR if self.is_continuous_market() else TRADING_DAYS_A_YEAR

    def portfolio(self) -> PortfolioSettings:
        """Return the portfolio settings. The default of `bars_per_year` comes from the feed. If the ensemble is
        enabled, the portfolio trades only its signals.
        """
        portfolio, sizing = self.portfolio_manager, self.portfolio_manager.sizing
        bars_per_year = sizing.volatility.bars_per_year or self.market_data.bars_per_year()
        volatility = replace(sizing.volatility, bars_per_year=bars_per_year)
        traded = (ENSEMBLE,) if self.signals.ensemble.enabled else portfolio.strategies
        sizing = replace(sizing, volatility=volatility)
        return replace(portfolio, sizing=sizing, strategies=traded, accruals=self._accruals())

    def _accruals(self) -> AccrualSettings:
        """Return the rates of interest and borrow fees. With a broker they are 0: its activities report the charges."""
        if self.execution.broker == "simulated":
            return self.portfolio_manager.accruals
        zero = Decimal(0)
        return AccrualSettings(margin_rate=zero, credit_rate=zero, borrow_rate=zero)

    def risk(self) -> RiskSettings:
        """Return the risk settings with the portfolio's initial capital, currency and accruals. Risk and the portfolio
        compute cash independently, from the same start.
        """
        capital = self.portfolio_manager.initial_capital
        account = self.portfolio_manager
        return replace(
            self.risk_manager,
            initial_capital=capital,
            instruments=self.traded_instruments(),
            account_currency=account.currency,
            accruals=self._accruals(),
        )

    def venue(self) -> VenueSettings:
        """Return the settings of the simulated venue with the common instruments, and the sessions of the feed."""
        venue = self.execution.venue
        cash_account = venue.cash_account or self.portfolio_manager.settled_cash_only
        sessions = venue.sessions
        if self.feed_session() == "regular":
            # Without bars of the post-market, a day ends with its regular session.
            sessions = tuple(session for session in sessions if session not in (PRE, POST))
        return replace(venue, instruments=self.traded_instruments(), cash_account=cash_account, sessions=sessions)

    def gateway(self) -> GatewaySettings:
        """Return the settings of the gateway's stage. Raises BadInput."""
        alpaca = self.execution.alpaca
        return GatewaySettings(
            extended_hours=alpaca.extended_hours,
            collar_bps=alpaca.collar_bps,
            foreign_positions=alpaca.foreign_positions,
            approvals=self.risk_manager.approvals,
            instruments=self.traded_instruments(),
            currency=self.portfolio_manager.currency,
            initial_cash=self.portfolio_manager.initial_capital,
            cash_tolerance=None if alpaca.cash_tolerance == "unlimited" else alpaca.cash_tolerance,
            foreign_cash=alpaca.foreign_cash,
        )

    @model_validator(mode="after")
    def _check_live_trading(self) -> Self:
        """Live trading requires both mode live and the account number, so that no single mistake trades real money."""
        execution, market = self.execution, self.market_data
        simulated = market.feed == "simulator" or "simulator" in market.live_providers()
        if execution.broker == "alpaca" and self.alpaca.url is None and simulated:
            raise ValueError("execution.broker alpaca does not allow the simulator's prices; change market_data.feed")
        if execution.mode == "live":
            if execution.broker != "alpaca":
                raise ValueError("TRADING_MODE=live requires execution.broker: alpaca, found simulated")
            if self.alpaca.url is not None:
                raise ValueError("TRADING_MODE=live trades at Alpaca itself and does not allow alpaca.url")
            for name in self.polygon.foreign_urls():
                raise ValueError(
                    f"TRADING_MODE=live requires Polygon's own servers; {name} must be an encrypted URL of Polygon"
                )
            if not execution.live_account:
                raise ValueError(
                    "TRADING_MODE=live trades real money: name the account with `start --live-account NUMBER`"
                )
        elif execution.live_account:
            raise ValueError("execution.live_account requires TRADING_MODE=live, found paper")
        return self

    @model_validator(mode="after")
    def _check_instruments(self) -> Self:
        for section_name, section in (("risk_manager", self.risk_manager), ("execution.venue", self.execution.venue)):
            if section.instruments not in (NO_INSTRUMENTS, self.instruments):
                raise ValueError(f"instruments must be in the section `instruments`, found some in {section_name}")
        return self
