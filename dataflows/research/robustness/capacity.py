"""The capital at which the market impact of a strategy's own orders halves its Sharpe ratio."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from math import log2, sqrt
from typing import Any

import pandas as pd

from dataflows.research.loaded_bars import BarsArgument
from dataflows.research.robustness.stressed_runs import StressedRuns, StressTable, checked_levels, crossing, row_of
from dataflows.research.strategy_backtest import SettingsInput

MULTIPLES = (1.0, 4.0, 16.0, 64.0, 256.0)


def capacity(
    strategy: object,
    bars: BarsArgument,
    *,
    multiples: Iterable[float] = MULTIPLES,
    impact_bps: float | None = None,
    settings: SettingsInput = None,
    **options: Any,
) -> StressTable:
    """Run a strategy with the market impact that orders of a multiple of its capital would have.

    The impact follows the square-root law: `impact_bps` * sqrt(quantity / volume of the bar), by default
    `execution.venue.impact_bps`. With k times the capital, every quantity is k times as large, so the run with the same
    capital and sqrt(k) times the impact has the same relative costs. Limits in money and sizes of orders therefore need
    no change. `max_volume_share`, if it is set, becomes 1 / k of itself. The venue caps the volume share of an order at
    1; here, the impact of k times an order also rises above that.

    multiples  multiples of the capital; 1 is always among them

    The frame has the columns `capital` (account currency), `multiple`, the metrics and `fees`. A note gives the capital
    at which the Sharpe ratio is half of that without impact, interpolated in the logarithm of the capital. Sharpe
    ratios need 20 trading days; with fewer, the note uses the total return. `options` are further arguments of
    `backtest`. Raises BadInput. Source: the square-root law of impact, for example Tóth and others (2011), Anomalous
    Price Impact and the Critical Nature of Liquidity in Financial Markets.
    """
    levels = sorted({1.0, *checked_levels("multiples", multiples, above=0.0)})
    runs = StressedRuns(strategy, bars, settings, options)
    base_bps = float(runs.venue.impact_bps if impact_bps is None else impact_bps)
    [base_bps] = checked_levels("impact_bps", [base_bps], above=0.0)
    capital = float(runs.settings.portfolio_manager.initial_capital)
    without = row_of(runs.run(slippage_model="square_root", impact_bps=Decimal(0)))
    rows: list[dict[str, Any]] = []
    for level in levels:
        venue: dict[str, Any] = {"slippage_model": "square_root", "impact_bps": Decimal(str(base_bps * sqrt(level)))}
        if runs.venue.max_volume_share is not None:
            venue["max_volume_share"] = runs.venue.max_volume_share / Decimal(str(level))
        rows.append({"capital": capital * level, "multiple": level} | row_of(runs.run(**venue)))
    metric = "sharpe" if without["sharpe"] is not None else "total_return"
    frame = pd.DataFrame([{"capital": 0.0, "multiple": 0.0} | without, *rows])
    note = _conclusion(metric, without[metric], capital, levels, [row[metric] for row in rows])
    return StressTable(title="Capacity: square-root impact of k times the capital", frame=frame, notes=(note,))


def _conclusion(
    metric: str, without: float | None, capital: float, levels: list[float], values: list[float | None]
) -> str:
    name = {"sharpe": "Sharpe ratio", "total_return": "total return"}[metric]
    if without is None or without <= 0:
        return f"The {name} is not above 0 even without impact, so there is no capacity"
    level = crossing([log2(level) for level in levels], values, without / 2)
    if level is None:
        return f"The {name} stays above half of that without impact up to a capital of {capital * levels[-1]:,.0f}"
    if level <= log2(levels[0]):
        return f"The {name} is below half of that without impact already at a capital of {capital * levels[0]:,.0f}"
    return f"The {name} falls to half of that without impact at a capital of about {capital * 2**level:,.0f}"
