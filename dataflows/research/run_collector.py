"""Collect the tables and the benchmark of a backtest from its time slices."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from configs.settings import Settings
from dataflows.research.frames import TRADES, FrameName, RunFrames
from dataflows.research.report import Benchmark, Observer
from operators.performance import Performance


class BacktestRun(NamedTuple):
    """What a run computed. `benchmark` is None without one."""

    performance: Performance
    summary: dict[str, Any]
    frames: RunFrames
    benchmark: Benchmark | None


class RunCollector:
    """Collects the tables `names` and the closes of the symbol `benchmark`. A run that starts again discards them.

    Without `excursions`, trades have no excursions (`RunFrames`).
    """

    def __init__(
        self, names: Collection[FrameName], benchmark: str | None, settings: Settings, *, excursions: bool = True
    ) -> None:
        self.names, self._benchmark, self._settings = frozenset(names), benchmark, settings
        self._has_excursions = excursions and TRADES in self.names
        self.make_observers()

    def make_observers(self) -> list[Observer]:
        """Return the functions that receive the records of each time slice of a new run."""
        settings = self._settings
        self.frames = RunFrames(
            self.names,
            settings.portfolio_manager.initial_capital,
            settings.traded_instruments(),
            excursions=self._has_excursions,
        )
        self.compared = None if self._benchmark is None else Benchmark(self._benchmark)
        compared = [] if self.compared is None else [self.compared.observe]
        return [*([self.frames.add_slice] if self.names else []), *compared]

    def result(self, performance: Performance, summary: dict[str, Any]) -> BacktestRun:
        """Return the run with its benchmark and excursions. Raises BadInput if the benchmark has no bars."""
        if self.compared is not None:
            summary |= {"benchmark": self.compared.symbol, **self.compared.compare(performance)._asdict()}
        self.frames.end_run()
        if self._has_excursions:
            summary |= self.frames.excursion_figures()
        return BacktestRun(performance=performance, summary=summary, frames=self.frames, benchmark=self.compared)
