"""How the result changes with fees, slippage and delay."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pandas as pd

from dataflows.research.loaded_bars import BarsArgument
from dataflows.research.robustness.stressed_runs import StressedRuns, StressTable, checked_levels, crossing, row_of
from dataflows.research.strategy_backtest import SettingsInput
from operators.venue import VenueSettings

FEE_MULTIPLES = (0.0, 1.0, 2.0, 4.0)
SLIPPAGES_BPS = (0.0, 1.0, 2.0, 5.0, 10.0)
DELAYS_S = (0.0, 60.0, 300.0)
_SCALED = ("fee_per_share", "fee_min", "fee_bps")
_SCALABLE_MODELS = {"none", "per_share", "per_notional"}
_UNITS = {"fees": "times the configured fees", "slippage": "bp of slippage", "delay": "s of delay"}
_NS = 10**9


def cost_sensitivity(
    strategy: object,
    bars: BarsArgument,
    *,
    fees: Iterable[float] = FEE_MULTIPLES,
    slippage_bps: Iterable[float] = SLIPPAGES_BPS,
    delays_s: Iterable[float] = DELAYS_S,
    settings: SettingsInput = None,
    **options: Any,
) -> StressTable:
    """Run a strategy with other fees, slippage and delays, one changed at a time.

    fees          multiples of the configured fees
    slippage_bps  fixed slippage of each trade in basis points of the price; half of the spread belongs to it
    delays_s      seconds of market time from the approval of an order to the earliest bar in which it trades

    The frame has the columns `cost` (`none`, `fees`, `slippage` or `delay`), `level`, the metrics and `fees`; the first
    row is the run with the settings as they are. The notes say at which level the total return falls to 0. `options`
    are further arguments of `backtest`. Raises BadInput.

        from dataflows.research import cost_sensitivity
        print(cost_sensitivity("ema_cross", "bars/"))
    """
    levels = {
        "fees": checked_levels("fees", fees),
        "slippage": checked_levels("slippage_bps", slippage_bps),
        "delay": checked_levels("delays_s", delays_s),
    }
    runs = StressedRuns(strategy, bars, settings, options)
    notes = []
    if runs.venue.fee_model not in _SCALABLE_MODELS:
        del levels["fees"]
        notes.append(f"fees: not changed, because the fee model {runs.venue.fee_model} has published rates")
    rows = [{"cost": "none", "level": None} | row_of(runs.run())]
    for cost, values in levels.items():
        found = [row_of(runs.run(**_venue_values(cost, value, runs.venue))) for value in values]
        rows += [{"cost": cost, "level": value} | row for value, row in zip(values, found, strict=True)]
        notes.append(_conclusion(cost, crossing(values, [row["total_return"] for row in found], 0.0), values))
    return StressTable(title="Costs: one changed at a time", frame=pd.DataFrame(rows), notes=tuple(notes))


def _venue_values(cost: str, level: float, venue: VenueSettings) -> dict[str, Any]:
    if cost == "fees":
        return {name: getattr(venue, name) * Decimal(str(level)) for name in _SCALED}
    if cost == "slippage":
        return {"slippage_model": "fixed", "slippage_bps": Decimal(str(level))}
    return {"latency_ns": round(level * _NS)}


def _conclusion(cost: str, level: float | None, levels: list[float]) -> str:
    lowest, highest = levels[0], levels[-1]
    if level is None:
        return f"{cost}: the total return stays above 0 up to {highest:g} {_UNITS[cost]}"
    if level <= lowest:
        return f"{cost}: the total return is not above 0 even at {lowest:g} {_UNITS[cost]}"
    return f"{cost}: the total return falls to 0 at about {level:.3g} {_UNITS[cost]}"
