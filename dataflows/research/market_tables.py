"""Tables of a run that its report needs beside the results: prices, the benchmark, and how well signals forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from dataflows.research.frames import FrameName
from dataflows.research.run_collector import BacktestRun
from operators.excursions import PriceColumns, SymbolBars

PRICES: Final = "prices"
BENCHMARK: Final = "benchmark"
SIGNAL_QUALITY: Final = "signal_quality"
PRICE_POINTS_MAX = 1000
"""Bars of a symbol in the table of prices. Longer series are combined to bars of several intervals."""
HORIZONS = (1, 2, 5, 10, 20, 60)
"""Bars after a signal at which its forecast is measured."""
OBSERVATIONS_MIN = 20


def market_tables(run: BacktestRun, signals: pa.Table | None) -> dict[FrameName, pa.Table]:
    """Return the tables of a run. There are no prices and no signal quality if the run did not store its bars."""
    tables: dict[FrameName, pa.Table] = {}
    if run.frames.bars:
        tables[PRICES] = price_table(run.frames.bars)
        if signals is not None:
            tables[SIGNAL_QUALITY] = signal_quality(signals.to_pandas(), run.frames.bars)
    if run.benchmark is not None:
        closes = run.benchmark.closes
        days = pa.array(list(closes), pa.int64())
        tables[BENCHMARK] = pa.table({"day": days, "close": pa.array(list(closes.values()), pa.float64())})
    return tables


def price_table(bars: Mapping[str, SymbolBars]) -> pa.Table:
    """Return open, high, low and close of each symbol in at most `PRICE_POINTS_MAX` rows per symbol."""
    parts = [_combined(symbol, one.columns) for symbol, one in sorted(bars.items())]
    return pa.Table.from_pandas(pd.concat(parts, ignore_index=True), preserve_index=False)


def _combined(symbol: str, bars: PriceColumns) -> pd.DataFrame:
    count = len(bars.ends_ns)
    step = -(-count // PRICE_POINTS_MAX)
    starts = np.arange(0, count, step)
    ends = np.minimum(starts + step, count) - 1
    return pd.DataFrame(
        {
            "time": pd.to_datetime(np.asarray(bars.opens_ns)[starts], unit="ns", utc=True),
            "symbol": symbol,
            "open": np.asarray(bars.opens)[starts],
            "high": np.maximum.reduceat(np.asarray(bars.highs), starts),
            "low": np.minimum.reduceat(np.asarray(bars.lows), starts),
            "close": np.asarray(bars.closes)[ends],
        }
    )


def signal_quality(signals: pd.DataFrame, bars: Mapping[str, SymbolBars]) -> pa.Table:
    """Return the information coefficient of each strategy by horizon, and the number of signals behind it.

    It is the rank correlation of the view (direction × strength × confidence) at each change of a view with the return
    of the symbol over the next `horizon` bars, over all symbols. None with fewer than `OBSERVATIONS_MIN` signals, or if
    views or returns do not vary. Signals without so many later bars are not counted.
    """
    outcomes = [_outcomes(signals[signals["symbol"] == symbol], one.columns) for symbol, one in bars.items()]
    rows: list[dict[str, Any]] = []
    if outcomes:
        joined = pd.concat(outcomes)
        for strategy, part in joined.groupby("strategy"):
            for horizon in HORIZONS:
                pairs = part[["view", f"return_{horizon}"]].dropna()
                coefficient = rank_correlation(pairs["view"], pairs[f"return_{horizon}"])
                rows.append({"strategy": strategy, "horizon": horizon, "signals": len(pairs), "ic": coefficient})
    kinds = [("strategy", pa.string()), ("horizon", pa.int64()), ("signals", pa.int64()), ("ic", pa.float64())]
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


def _outcomes(signals: pd.DataFrame, bars: PriceColumns) -> pd.DataFrame:
    """Return the view of each signal of a symbol, and the returns of the symbol after it."""
    ends, closes = np.asarray(bars.ends_ns), np.asarray(bars.closes, dtype=float)
    times = signals["time"].astype("int64").to_numpy()
    at = np.searchsorted(ends, times, side="right") - 1
    view = signals["direction"] * signals["strength"] * signals["confidence"]
    columns: dict[str, Any] = {"strategy": signals["strategy"].to_numpy(), "view": view.to_numpy(dtype=float)}
    for horizon in HORIZONS:
        later = at + horizon
        is_known = (at >= 0) & (later < len(closes))
        base, end = closes[np.where(is_known, at, 0)], closes[np.where(is_known, later, 0)]
        columns[f"return_{horizon}"] = np.where(is_known & (base > 0), end / np.where(base > 0, base, 1.0) - 1, np.nan)
    return pd.DataFrame(columns)


def rank_correlation(one: pd.Series[float], other: pd.Series[float]) -> float | None:
    """Return Spearman's rank correlation; None for fewer than `OBSERVATIONS_MIN` pairs or without variation."""
    if len(one) < OBSERVATIONS_MIN:
        return None
    ranks = (one.rank().to_numpy(), other.rank().to_numpy())
    if any(rank.std() == 0 for rank in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])
