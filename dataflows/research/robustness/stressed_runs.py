"""Backtests of one strategy with changed venue settings, and the table of their results."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import pandas as pd

from configs.settings import Settings
from dataflows.research.loaded_bars import BarsArgument
from dataflows.research.result import METRIC_UNITS, Result
from dataflows.research.strategy_backtest import SettingsInput, backtest, settings_of
from schemas.errors import BadInput

METRICS = ("total_return", "sharpe", "max_drawdown", "fills", "refusals")
"""The columns of each table after those that say what was changed."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StressTable:
    """The results of backtests with one thing changed at a time.

    title  what was changed
    frame  one row per backtest: what was changed, then the metrics `METRICS` and `fees`
    notes  one sentence each: conclusions, and what is not in the table
    """

    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def units(self) -> dict[str, str]:
        """The units of the columns that are metrics."""
        return {name: METRIC_UNITS.get(name, "account currency") for name in (*METRICS, "fees")}

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        table = self.frame.to_html(index=False, float_format=lambda value: f"{value:.4g}")
        return f"<h4>{html.escape(self.title)}</h4>{table}<ul>{notes}</ul>"

    def __str__(self) -> str:
        table = self.frame.to_string(index=False, float_format=lambda value: f"{value:.4g}")
        return "\n".join([self.title, table, *self.notes])


class StressedRuns:
    """Runs of one strategy over the same bars with other settings of the simulated venue.

    `options` are further arguments of `backtest`. Settings are read once.
    """

    def __init__(
        self, strategy: object, bars: BarsArgument, settings: SettingsInput, options: Mapping[str, Any]
    ) -> None:
        for name in ("save", "name"):
            if name in options:
                raise BadInput(f"{name} is an argument of backtest; the runs of a stress test are not saved")
        self._strategy, self._bars, self._options = strategy, bars, options
        self.settings = settings_of(settings)
        self.venue = self.settings.execution.venue

    def run(self, bars: BarsArgument | None = None, **venue: Any) -> Result:
        """Run the strategy with these values of `execution.venue`, and with other bars if they are given."""
        return backtest(
            self._strategy,
            self._bars if bars is None else bars,
            settings=with_venue(self.settings, venue),
            **self._options,
        )


def with_venue(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return the settings with these values of `execution.venue`. Raises BadInput for an invalid one."""
    execution = settings.execution
    changed = execution.model_copy(update={"venue": replace(execution.venue, **values)})
    return settings.model_copy(update={"execution": changed})


def row_of(result: Result) -> dict[str, Any]:
    """The metrics of a result for a row of a table."""
    return {name: result.summary.get(name) for name in METRICS} | {"fees": float(result.summary["fees"])}


def checked_levels(name: str, levels: Iterable[float], *, above: float | None = None) -> list[float]:
    """Return the levels in ascending order. Raises BadInput for none, and for one that is negative or not finite.

    `above`: each level must be above it.
    """
    if not isinstance(levels, Iterable):
        raise BadInput(f"{name} must be a list of numbers, found {levels!r}")
    found = list(levels)
    if not found:
        raise BadInput(f"{name} must have at least one number")
    for level in found:
        too_low = not isinstance(level, int | float) or not isfinite(level) or level < 0
        if too_low or (above is not None and level <= above):
            bound = "of at least 0" if above is None else f"above {above:g}"
            raise BadInput(f"{name} must be finite numbers {bound}, found {level!r}")
    return sorted({float(level) for level in found})


def crossing(levels: Sequence[float], values: Sequence[float | None], target: float) -> float | None:
    """Return the first level at which `values` falls to `target`, by linear interpolation; None if it never does.

    >>> crossing([0, 10], [0.5, -0.5], 0.0), crossing([0, 10], [0.5, 0.1], 0.0), crossing([0, 10], [-1, -2], 0.0)
    (5.0, None, 0.0)
    """
    before: tuple[float, float] | None = None
    for level, value in zip(levels, values, strict=True):
        if value is None:
            continue
        if value <= target:
            if before is None:
                return float(level)
            share = (before[1] - target) / (before[1] - value)
            return before[0] + share * (level - before[0])
        before = (level, value)
    return None
