"""What the trials of a sweep cost beside their single backtests. They share the files and the indicators."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TypeVar

import pytest

from configs.settings import Settings, load_settings
from dataflows.backtest import run
from dataflows.research import backtest, sweep
from dataflows.research.sweeps.trial_pass import run_trials
from tests.performance.conftest import RecordFigure
from tests.performance.market import write_bars
from tests.performance.test_backtest_speed import SETTINGS, SYMBOLS

GRID = {"fast": [5, 10, 15, 20, 25], "slow": [30, 60, 90, 120]}
SETS = [dict(zip(GRID, values, strict=True)) for values in product(*GRID.values())]
PROCESSES = 2
Value = TypeVar("Value")


def measured(clock: Callable[[], float], function: Callable[[], Value]) -> tuple[float, Value]:
    started = clock()
    value = function()
    return clock() - started, value


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "settings.yaml"
    file.write_text(SETTINGS % "")
    return load_settings(file, {})


def test_trials_of_one_pass_cost_less_than_backtests_from_python(
    tmp_path: Path, settings: Settings, figure: RecordFigure
) -> None:
    bars, sets = [write_bars(tmp_path / "bars", SYMBOLS, 1500)], SETS[::2]
    trials = [settings.with_strategies(["ema_cross"], one) for one in sets]
    run(trials[0], bars)  # the first run imports modules
    shared_s, outcomes = measured(time.process_time, lambda: run_trials(trials, bars))
    single_s, singles = measured(time.process_time, lambda: [run(one, bars, explains=False)[1] for one in trials])
    python_s, _ = measured(
        time.process_time, lambda: [backtest("ema_cross", bars, settings=settings, parameters=one) for one in sets]
    )
    assert [one.decision_hash for one in outcomes] == [one["decision_hash"] for one in singles]
    figure(f"{len(sets)} trials of one pass, processor time", f"{shared_s:.1f} s")
    figure("  their single backtests without tables", f"{single_s:.1f} s, {single_s / shared_s:.2f} times as much")
    figure("  their single backtests from Python", f"{python_s:.1f} s, {python_s / shared_s:.2f} times as much")
    # Backtests without tables cost about as much as a pass, so that figure is printed only.
    assert shared_s < python_s


@pytest.mark.long
def test_a_sweep_on_two_cores_is_faster_than_single_backtests(
    tmp_path: Path, settings: Settings, figure: RecordFigure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wall-clock times are printed and not asserted: other processes on the machine change them."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    bars = write_bars(tmp_path / "bars", SYMBOLS, 20_000)
    swept_s, result = measured(
        time.perf_counter,
        lambda: sweep("ema_cross", bars, grid=GRID, objective="total_return", settings=settings, processes=PROCESSES),
    )
    single_s, singles = measured(
        time.perf_counter,
        lambda: [run(settings.with_strategies(["ema_cross"], one), [bars], explains=False)[1] for one in SETS],
    )
    assert set(result.trials["decision_hash"]) == {one["decision_hash"] for one in singles}
    figure(f"sweep of {len(SETS)} sets over {SYMBOLS} x 20,000 bars", f"{swept_s:.0f} s in {PROCESSES} processes")
    figure("  single backtests without tables", f"{single_s:.0f} s, {single_s / swept_s:.2f} times as long")
