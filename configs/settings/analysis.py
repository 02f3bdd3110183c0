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


class FeaturesSection(Section):
    """`indicators` are specs such as `sma_20` that are computed beside those that strategies and the model need.
    `indicator_files` are Python files with your own indicators.
    """

    indicators: tuple[str, ...] = ()
    indicator_files: tuple[Path, ...] = ()


class PredictionsSection(Section):
    """`model` is the sha256 of a registered model or its first digits, or "none"; the default is the active model.
    `registry` is the folder of models; the default is `models/` in the state folder.
    """

    model: str | None = None
    registry: Path | None = None


HandlerSeconds = Annotated[float, Field(ge=0.01, le=3600)]


class StrategyEntry(Section):
    """One strategy.

    name        of a strategy of the platform, or path/to/file.py:Class
    parameters  arguments of the class
    on_error    what happens to a suspended strategy: its views and positions stay (`hold`), or they end (`flatten`)
    capital     share of the account's equity with which the strategy sizes its positions
    limits      limits of a strategy's orders and losses, in addition to those of the account
    universe    path of a file with the universe of a trading strategy, in place of the one that the strategy declares
    handler_time_limit_s  processor time of one call of a handler; the default is that of all strategies
    """

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    on_error: OnError = "hold"
    capital: Annotated[Decimal, Field(gt=0, le=10)] = Decimal(1)
    limits: StrategyLimits = NO_LIMITS
    universe: Annotated[str, Field(min_length=1)] | None = None
    handler_time_limit_s: HandlerSeconds | None = None


class SignalsSection(Section):
    """`handler_time_limit_s` is the processor time of one call of a handler (`decide`, `on_slice`, ...). A strategy
    that needs more is suspended. `handler_waiting_limit_s` is the time in which a call waits, for example sleeps.
    """

    strategies: tuple[StrategyEntry, ...] = (StrategyEntry(name="ema_cross"),)
    ensemble: EnsembleSettings = EnsembleSettings()
    handler_time_limit_s: HandlerSeconds = 5.0
    handler_waiting_limit_s: HandlerSeconds = 60.0


class BacktestSection(Section):
    """What `python -m bytewax.run dataflows.backtest` reads: the files of `market_data.files`, or the recorded topics.

    The period is `start` and `end` of `market_data.files`. `symbols` (default: all) and `commands` (whether recorded
    commands are given) apply to topics only. `allow_in_sample` allows a model on the bars from which it learned.
    """

    source: Literal["files", "topics"] = "files"
    symbols: tuple[str, ...] | None = None
    commands: bool = False
    allow_in_sample: bool = False
