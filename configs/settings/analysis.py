"""Settings of the analysis: features, predictions and signals."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from configs.settings.sections import Section
from operators.signals.ensemble import EnsembleSettings
from operators.signals.suspensions import OnError
from operators.strategy_limits import NO_LIMITS, StrategyLimits
from operators.strategy_removal import OnRemove


class FeaturesSection(Section):
    """Indicators and files with your own indicators.

    indicators       specs such as `sma_20` that are computed beside those that strategies and the model need
    indicator_files  Python files with your own indicators
    """

    indicators: tuple[str, ...] = ()
    indicator_files: tuple[Path, ...] = ()


class PredictionsSection(Section):
    """The model of the predictions.

    model     digest (sha256) of a registered model or its first digits, or `none` for no predictions; unset: the active
              model
    registry  folder of the models; unset: `models/` in the state folder
    """

    model: str | None = None
    registry: Path | None = None


HandlerSeconds = Annotated[float, Field(ge=0.01, le=3600)]


class StrategyEntry(Section):
    """One strategy.

    name                  name of a strategy of the platform, or path/to/file.py:Class
    parameters            arguments of the class
    parameters_by_symbol  arguments by symbol that replace those of `parameters`; only for a view strategy
    on_error              what happens to a suspended strategy: its views and positions stay (`hold`), or they end
                          (`flatten`)
    capital               [fraction] share of the account's equity with which the strategy sizes its positions
    limits                limits of a strategy's orders and losses, in addition to those of the account
    universe              path of a file with the universe of a trading strategy, in place of the one that the strategy
                          declares
    handler_time_limit_s  processor time of one call of a handler; unset: that of all strategies
    """

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    parameters_by_symbol: dict[str, dict[str, Any]] = Field(default_factory=dict)
    on_error: OnError = "hold"
    capital: Annotated[Decimal, Field(gt=0, le=10)] = Decimal(1)
    limits: StrategyLimits = NO_LIMITS
    universe: Annotated[str, Field(min_length=1)] | None = None
    handler_time_limit_s: HandlerSeconds | None = None


class SignalsSection(Section):
    """The strategies, and the time limits of their handlers (`decide`, `on_slice`, ...).

    strategies               the strategies that run
    ensemble                 the weighted view of all strategies
    on_remove                what happens when a change of the settings removes a strategy: its positions stay (`keep`),
                             or its orders are cancelled and its positions are closed (`flatten`)
    handler_time_limit_s     processor time of one call of a handler; a strategy that needs more is suspended
    handler_waiting_limit_s  time in which one call of a handler waits, for example sleeps; a strategy that waits longer
                             is suspended
    """

    strategies: tuple[StrategyEntry, ...] = (StrategyEntry(name="ema_cross"),)
    ensemble: EnsembleSettings = EnsembleSettings()
    on_remove: OnRemove = "keep"
    handler_time_limit_s: HandlerSeconds = 5.0
    handler_waiting_limit_s: HandlerSeconds = 60.0


class BacktestSection(Section):
    """What `python -m bytewax.run dataflows.backtest` reads. The period is `start` and `end` of `market_data.files`.

    source           the files of `market_data.files`, or the recorded topics
    symbols          symbols to read from topics; unset: all
    commands         whether the run applies the commands recorded in the topics
    allow_in_sample  whether a model may forecast the bars that it was trained on
    """

    source: Literal["files", "topics"] = "files"
    symbols: tuple[str, ...] | None = None
    commands: bool = False
    allow_in_sample: bool = False
