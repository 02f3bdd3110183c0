"""The tree of all settings, the checks across its sections, and views that combine several sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from configs.alerts import AlertsSection
from configs.settings.analysis import FeaturesSection, PredictionsSection, SignalsSection
from configs.settings.execution import AlpacaSection, ExecutionSection
from configs.settings.feeds import EXTRA_FILE_KINDS, FundamentalsSection, MarketDataSection, NewsSection, PolygonSection
from configs.settings.platform import ApiSection, PlatformSection
from configs.settings.sections import Section, parse_seconds
from configs.settings.stores import DatabaseSection, KafkaSection
from operators.feedback import FeedbackSettings
from operators.gateway import GatewaySettings
from operators.instruments import NO_INSTRUMENTS, Instruments
from operators.portfolio import PortfolioSettings
from operators.risk.settings import RiskSettings
from operators.sentiment import SentimentSettings
from operators.signals.ensemble import ENSEMBLE
from operators.venue import VenueSettings


def _rebalance_in_seconds(value: Any) -> Any:
    """Converts `rebalance_frequency` (a duration such as "1h") to `rebalance_interval_s`."""
    if not isinstance(value, Mapping) or "rebalance_frequency" not in value:
        return value
    rest = {key: entry for key, entry in value.items() if key != "rebalance_frequency"}
    return rest | {"rebalance_interval_s": parse_seconds(value["rebalance_frequency"])}


class Settings(Section):
    """All settings. `instruments` to `feedback` affect trading decisions; the other sections only configure
    operations.
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
    platform: PlatformSection = PlatformSection()
    api: ApiSection = ApiSection()
    alerts: AlertsSection = AlertsSection()
    database: DatabaseSection
    kafka: KafkaSection

    def for_backtest(self) -> Settings:
        """Returns the settings for a backtest: files as the feed and the simulated venue in paper mode.

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
        """Returns settings with these files, by kind, instead of the configured ones. An empty kind is unchanged."""
        replacements = {kind: tuple(paths) for kind, paths in files_by_kind.items() if paths}
        assert replacements.keys() <= set(EXTRA_FILE_KINDS), f"unknown kinds of files in {sorted(replacements)}"
        files = self.market_data.files.model_copy(update=replacements)
        return self.model_copy(update={"market_data": self.market_data.model_copy(update={"files": files})})

    def portfolio(self) -> PortfolioSettings:
        """Returns the portfolio settings. The default of `bars_per_year` comes from the feed. If the ensemble is
        enabled, the portfolio trades only its signals.
        """
        portfolio, sizing = self.portfolio_manager, self.portfolio_manager.sizing
        bars_per_year = sizing.volatility.bars_per_year or self.market_data.bars_per_year()
        volatility = replace(sizing.volatility, bars_per_year=bars_per_year)
        traded = (ENSEMBLE,) if self.signals.ensemble.enabled else portfolio.strategies
        return replace(portfolio, sizing=replace(sizing, volatility=volatility), strategies=traded)

    def risk(self) -> RiskSettings:
        """Returns the risk settings with the portfolio's initial capital, currency and accruals. Risk and the portfolio
        compute cash independently, from the same start.
        """
        capital = self.portfolio_manager.initial_capital
        account = self.portfolio_manager
        return replace(
            self.risk_manager,
            initial_capital=capital,
            instruments=self.instruments,
            account_currency=account.currency,
            accruals=account.accruals,
        )

    def venue(self) -> VenueSettings:
        """Returns the settings of the simulated venue with the common instruments."""
        return replace(self.execution.venue, instruments=self.instruments)

    def gateway(self) -> GatewaySettings:
        """Returns the settings of the gateway's stage. Raises BadInput."""
        alpaca = self.execution.alpaca
        return GatewaySettings(
            extended_hours=alpaca.extended_hours,
            collar_bps=alpaca.collar_bps,
            foreign_positions=alpaca.foreign_positions,
            instruments=self.instruments,
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
