"""The whole tree, what its sections must agree on, and what a part gets that takes from several of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from configs.alerts import Alerts
from configs.settings.analysis import Features, Predictions, Signals
from configs.settings.execution import Alpaca, Execution
from configs.settings.feeds import OTHER_FILES, FundamentalsFeed, MarketData, News, Polygon
from configs.settings.platform import Api, Platform
from configs.settings.sections import Section, seconds
from configs.settings.stores import Database, Kafka
from operators.feedback import FeedbackSettings
from operators.gateway import GatewaySettings
from operators.instruments import NOTHING_LISTED, Instruments
from operators.portfolio import PortfolioSettings
from operators.risk.settings import RiskSettings
from operators.sentiment import SentimentSettings
from operators.signals.ensemble import ENSEMBLE
from operators.venue import VenueSettings


def _portfolio(value: Any) -> Any:
    """`rebalance_frequency: "1h"` is the brief's name for what the portfolio knows in seconds."""
    if not isinstance(value, Mapping) or "rebalance_frequency" not in value:
        return value
    rest = {key: entry for key, entry in value.items() if key != "rebalance_frequency"}
    return rest | {"rebalance_interval_s": seconds(value["rebalance_frequency"])}


class Settings(Section):
    """Everything that can be set. `market_data` to `feedback` decide; the rest only places."""

    instruments: Instruments = NOTHING_LISTED
    market_data: MarketData = MarketData()
    news: News = News()
    fundamentals: FundamentalsFeed = FundamentalsFeed()
    features: Features = Features()
    sentiment: SentimentSettings = SentimentSettings()
    predictions: Predictions = Predictions()
    signals: Signals = Signals()
    portfolio_manager: Annotated[PortfolioSettings, BeforeValidator(_portfolio)] = PortfolioSettings()
    risk_manager: RiskSettings = RiskSettings()
    alpaca: Alpaca = Alpaca()
    polygon: Polygon = Polygon()
    execution: Execution = Execution()
    feedback: FeedbackSettings = FeedbackSettings()
    platform: Platform = Platform()
    api: Api = Api()
    alerts: Alerts = Alerts()
    database: Database
    kafka: Kafka

    def of_files(self) -> Settings:
        """For a backtest: the feed is the files, whatever the platform's is, and nobody watches the limits, which
        costs a third of its speed at a report a minute. The P&L by strategy comes once an hour at most: every five
        minutes it is a fifth.
        """
        files = self.market_data.model_copy(update={"feed": "files"})
        execution = self.execution.model_copy(update={"broker": "simulated", "mode": "paper"})
        risk_manager = replace(self.risk_manager, usage_interval_s=0)
        asked_s = self.feedback.attribution_interval_s
        feedback = replace(self.feedback, attribution_interval_s=max(asked_s, 3600) if asked_s else 0)
        return self.model_copy(
            update={
                "market_data": files,
                "risk_manager": risk_manager,
                "execution": execution,
                "feedback": feedback,
            },
        )

    def with_files(self, others: Mapping[str, Sequence[Path]]) -> Settings:
        """With these files, by kind, in place of those that the settings name; an empty kind stays as it is."""
        named = {kind: tuple(paths) for kind, paths in others.items() if paths}
        assert named.keys() <= set(OTHER_FILES), f"unknown kinds of files in {sorted(named)}"
        files = self.market_data.files.model_copy(update=named)
        return self.model_copy(update={"market_data": self.market_data.model_copy(update={"files": files})})

    def portfolio(self) -> PortfolioSettings:
        """The portfolio settings, with the bars a year of the feed where nothing else is said, and only the ensemble's
        signals to trade where there is one.
        """
        portfolio, sizing = self.portfolio_manager, self.portfolio_manager.sizing
        bars_per_year = sizing.volatility.bars_per_year or self.market_data.bars_per_year()
        volatility = replace(sizing.volatility, bars_per_year=bars_per_year)
        traded = (ENSEMBLE,) if self.signals.ensemble.enabled else portfolio.strategies
        return replace(portfolio, sizing=replace(sizing, volatility=volatility), strategies=traded)

    def risk(self) -> RiskSettings:
        """The risk settings, with the portfolio's initial capital: the two services count cash apart from the same
        start.
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
        """The simulated venue's settings, with the instruments that risk and the portfolio know too."""
        return replace(self.execution.venue, instruments=self.instruments)

    def gateway(self) -> GatewaySettings:
        """What the gateway's stage knows of its broker. Raises BadInput."""
        given = self.execution.alpaca
        return GatewaySettings(
            extended_hours=given.extended_hours,
            collar_bps=given.collar_bps,
            foreign_positions=given.foreign_positions,
            instruments=self.instruments,
        )

    @model_validator(mode="after")
    def _real_money_on_purpose(self) -> Self:
        """Live trading takes two things said by a person; one alone is a mistake of one kind or the other."""
        execution, market = self.execution, self.market_data
        invented = market.feed == "simulator" or "simulator" in market.live_providers()
        if execution.broker == "alpaca" and self.alpaca.url is None and invented:
            raise ValueError("execution.broker alpaca takes no orders at the simulator's prices; set market_data.feed")
        if execution.mode == "live":
            if execution.broker != "alpaca":
                raise ValueError("TRADING_MODE=live needs execution.broker: alpaca, found simulated")
            if self.alpaca.url is not None:
                raise ValueError("TRADING_MODE=live trades at Alpaca itself and allows no alpaca.url")
            for name in self.polygon.strangers():
                raise ValueError(
                    f"TRADING_MODE=live takes Polygon's prices from Polygon and allows no {name} elsewhere"
                )
            if not execution.live_account:
                raise ValueError(
                    "TRADING_MODE=live trades real money: name the account with `start --live-account NUMBER`"
                )
        elif execution.live_account:
            raise ValueError("execution.live_account is for TRADING_MODE=live, and the mode is paper")
        return self

    @model_validator(mode="after")
    def _instruments_in_one_place(self) -> Self:
        for where, given in (("risk_manager", self.risk_manager), ("execution.venue", self.execution.venue)):
            if given.instruments not in (NOTHING_LISTED, self.instruments):
                raise ValueError(f"instruments are listed in the section `instruments`, found some in {where}")
        return self
