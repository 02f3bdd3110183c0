"""The speed of the fused backtest in bars per second, its memory, and a plain Python loop over the same bars."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.performance.conftest import RecordFigure
from tests.performance.market import write_bars

SYMBOLS = 20
PEAK_MB_MAX = 250.0
SETTINGS = """
market_data: {files: {calendar: "24/7"}}
features: {indicators: [%s]}
signals: {strategies: [{name: ema_cross}]}
portfolio_manager: {initial_capital: 10000000, sizing: {method: fixed_quantity, quantity: 100}}
risk_manager: {max_daily_loss: unlimited}
"""
DEFAULT_SET = "sma_20, ema_12, ema_26, rsi_14, macd_12_26_9, bollinger_20_2, atr_14"


def run_backtest_child(folder: Path, settings: Path, *extra: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.performance.backtest_child", str(folder), str(settings), *extra]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    completed = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert completed.returncode == 0, completed.stderr[-2000:]
    result: dict[str, Any] = json.loads(completed.stdout)
    return result


def bars_per_s(result: dict[str, Any], time_field: str = "cpu_s") -> float:
    """Return bars per second of processor time, which other load on the machine affects less than wall-clock time."""
    bars: int = result["bars"]
    elapsed_s: float = result[time_field]
    return bars / elapsed_s


def measure_growth(folder: Path, bars: int, figure: RecordFigure) -> None:
    needed_settings, default_settings = folder / "needed.yaml", folder / "default.yaml"
    needed_settings.write_text(SETTINGS % "")
    default_settings.write_text(SETTINGS % DEFAULT_SET)
    short = run_backtest_child(write_bars(folder / "short", SYMBOLS, bars // 4), needed_settings)
    long = run_backtest_child(write_bars(folder / "long", SYMBOLS, bars), needed_settings, "loop")
    wide = run_backtest_child(folder / "short", default_settings)

    title = f"backtest of {SYMBOLS} x {bars:,} bars"
    figure(title, f"{bars_per_s(long):,.0f} bars/s of processor time, {long['bars_per_s']:,} of the wall's")
    figure("  features of the default set", f"{bars_per_s(wide):,.0f} bars/s of processor time")
    figure(
        "  at a quarter of the bars",
        f"{bars_per_s(short):,.0f} bars/s; ratio {bars_per_s(long) / bars_per_s(short):.2f}",
    )
    figure("  peak memory", f"{long['peak_mb']:.0f} MB, {short['peak_mb']:.0f} MB at a quarter of the bars")
    figure("  fills", f"{long['fills']:,}")
    loop, feed = bars_per_s(long, "loop_cpu_s"), bars_per_s(long, "feed_cpu_s")
    figure("  plain loop over floats", f"{loop:,.0f} bars/s; backtest to loop {bars_per_s(long) / loop:.3f}")
    figure("  file feed alone", f"{feed:,.0f} bars/s")

    plain = long["loop"]
    assert long["fills"] == plain["fills"] > bars / 100, "the backtest trades as the plain loop does"
    assert float(long["cash"]) == pytest.approx(plain["cash"], rel=1e-9)
    assert float(long["realized_pnl"]) == pytest.approx(plain["realized"], rel=1e-6)
    assert bars_per_s(long) > 0.4 * bars_per_s(short), "a cost that grows with the number of bars gives a quarter"
    assert long["peak_mb"] < PEAK_MB_MAX
    assert long["peak_mb"] < short["peak_mb"] + 40, "memory must not grow with the number of bars"


def test_the_cost_per_bar_does_not_grow_with_the_length_of_a_backtest(tmp_path: Path, figure: RecordFigure) -> None:
    measure_growth(tmp_path, 10_000, figure)


@pytest.mark.long
def test_a_long_backtest_costs_the_same_a_bar(tmp_path: Path, figure: RecordFigure) -> None:
    measure_growth(tmp_path, 80_000, figure)
