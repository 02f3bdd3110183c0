"""Whether a result depends on single prices: the same backtest on bars with random changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dataflows.research.loaded_bars import BarsArgument, load_bars
from dataflows.research.robustness.stressed_runs import StressedRuns, StressTable, checked_levels, row_of
from dataflows.research.strategy_backtest import SettingsInput
from schemas.errors import BadInput

_PRICES = ["open", "high", "low", "close"]
_DECIMALS = 6


def bar_noise(
    strategy: object,
    bars: BarsArgument,
    *,
    noise_bps: float = 5.0,
    runs: int = 10,
    seed: int = 0,
    settings: SettingsInput = None,
    **options: Any,
) -> StressTable:
    """Run a strategy over bars whose prices have random changes, with a different seed in each run.

    All prices of a bar are multiplied by the same 1 + x, where x is normal with the standard deviation `noise_bps`
    (basis points), so that open, high, low and close stay consistent. An edge that disappears depends on single prices.

    The frame has the columns `seed` (the first row, without noise, has none), the metrics and `fees`. `options` are
    further arguments of `backtest`. Raises BadInput.
    """
    [deviation] = checked_levels("noise_bps", [noise_bps], above=0.0)
    if not isinstance(runs, int) or runs < 1:
        raise BadInput(f"runs must be a whole number of at least 1, found {runs!r}")
    frame, run_options = _loaded(bars, options)
    stressed = StressedRuns(strategy, frame, settings, run_options)
    rows = [{"seed": None} | row_of(stressed.run())]
    rows += [
        {"seed": number} | row_of(stressed.run(_with_noise(frame, deviation / 10_000, number)))
        for number in range(seed, seed + runs)
    ]
    returns = [row["total_return"] for row in rows[1:]]
    better = sum(value >= rows[0]["total_return"] for value in returns)
    note = (
        f"Total return {rows[0]['total_return']:.2%} without noise; with noise from {min(returns):.2%} to "
        f"{max(returns):.2%}, mean {np.mean(returns):.2%}; at least as good in {better} of {runs} runs"
    )
    title = f"Prices with noise of {deviation:g} bp"
    return StressTable(title=title, frame=pd.DataFrame(rows), notes=(note,))


def _loaded(bars: BarsArgument, options: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the bars as a frame, and the options of `backtest` that the frame does not contain yet."""
    if isinstance(bars, pd.DataFrame):
        return bars, options
    selection = {name: options[name] for name in ("start", "end", "symbols") if name in options}
    layout = {name: options[name] for name in ("calendar", "session", "interval", "timezone") if name in options}
    others = {name: value for name, value in options.items() if name not in selection}
    return load_bars(bars, **selection, **layout), others


def _with_noise(bars: pd.DataFrame, deviation: float, seed: int) -> pd.DataFrame:
    factors = 1 + deviation * np.random.default_rng(seed).standard_normal(len(bars))
    changed = bars.copy()
    for name in _PRICES:
        changed[name] = (bars[name].to_numpy(float) * factors).round(_DECIMALS)
    return changed
