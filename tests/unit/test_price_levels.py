"""Price levels of days and sessions, and estimates of liquidity, against slow definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from operators.indicators import build
from schemas.errors import BadInput
from schemas.records import CONTINUOUS, POST, PRE, REGULAR, Bar, SessionPhase
from tests.unit.indicator_checks import RULES, Case, Columns, bars_of, values_of

MINUTE_NS = 60_000_000_000

# The tables are `Any`: the overloads of pandas' arithmetic make mypy very slow.


def regular_trades(f: Any) -> Any:
    return f[f.traded & (f.session == REGULAR)]


def prior_day(f: Any, p: list[float]) -> Columns:
    days = regular_trades(f).groupby("trading_day").agg({"high": "max", "low": "min", "close": "last"})
    prior = days.reindex(sorted(set(f.trading_day))).shift(1).ffill()
    return {f"_{column}": f.trading_day.map(prior[column]) for column in days}


def pivots(f: Any, p: list[float]) -> Columns:
    high, low, close = prior_day(f, p).values()
    pivot = (high + low + close) / 3
    return {
        "": pivot,
        "_r1": 2 * pivot - low,
        "_s1": 2 * pivot - high,
        "_r2": pivot + high - low,
        "_s2": pivot - high + low,
        "_r3": high + 2 * (pivot - low),
        "_s3": low - 2 * (high - pivot),
    }


def opening_range(f: Any, p: list[float]) -> Columns:
    high: Any = pd.Series(math.nan, f.index)
    low: Any = pd.Series(math.nan, f.index)
    for _, day in f.groupby("trading_day"):
        end = day[day.session == REGULAR].open_ns.min() + p[0] * MINUTE_NS
        trades = regular_trades(day)
        trades = trades[trades.ts_ns <= end]
        later = day.index[day.ts_ns >= end]
        high[later], low[later] = trades.high.max(), trades.low.min()
    return {"_high": high, "_low": low}


def weighted(prices: Any, volumes: Any) -> tuple[float, float]:
    """Mean and population standard deviation, weighted by volume."""
    if not volumes.sum():
        return math.nan, math.nan
    mean = math.fsum(prices * volumes) / math.fsum(volumes)
    return mean, math.sqrt(math.fsum((prices - mean) ** 2 * volumes) / math.fsum(volumes))


def vwap_bands(f: Any, p: list[float]) -> Columns:
    typical, rows = (f.high + f.low + f.close) / 3, []
    for _, session in f.groupby(["trading_day", "session"], sort=False):
        for last in session.index:
            window = slice(session.index[0], last)
            rows.append(weighted(typical.loc[window], f.volume.loc[window]))
    mean, spread = np.array(rows).T
    return {"_upper": mean + p[0] * spread, "_middle": mean, "_lower": mean - p[0] * spread}


def anchored_vwap(f: Any, p: list[float]) -> Columns:
    volume = f.volume.where(f.trading_day >= p[0], 0.0)
    total = volume.cumsum()
    return {"": ((f.high + f.low + f.close) / 3 * volume).cumsum() / total.where(total > 0)}


def rolling_mean_of_present(column: Any, period: float) -> Any:
    """The mean of the last `period` numbers at each bar that has one; NaN at the others."""
    present = column.dropna()
    windows = [
        math.fsum(present.iloc[end - int(period) : end]) / period if end >= period else math.nan
        for end in range(1, len(present) + 1)
    ]
    return pd.Series(windows, present.index).reindex(column.index)


def amihud(f: Any, p: list[float]) -> Columns:
    ratios = f.close.pct_change().abs() / (f.close * f.volume.where(f.volume > 0)) * 1e6
    return {"": rolling_mean_of_present(ratios, p[0])}


def corwin_schultz(f: Any, p: list[float]) -> Columns:
    traded = f[f.traded]
    spreads: Any = pd.Series(math.nan, f.index)
    root = math.sqrt(2)
    for index, first, second in zip(traded.index[1:], traded.itertuples(), traded[1:].itertuples(), strict=False):
        high, low = second.high, second.low
        if low > first.close:
            high, low = high - (low - first.close), first.close
        elif high < first.close:
            high, low = first.close, low + (first.close - high)
        beta = math.log(first.high / first.low) ** 2 + math.log(high / low) ** 2
        gamma = math.log(max(first.high, high) / min(first.low, low)) ** 2
        alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / (3 - 2 * root) - math.sqrt(gamma / (3 - 2 * root))
        spreads[index] = max(2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha)), 0.0)
    return {"": rolling_mean_of_present(spreads, p[0])}


CASES = {
    "amihud": Case(("amihud_20", "amihud_1"), amihud),
    "anchored_vwap": Case(("anchored_vwap_20260105", "anchored_vwap_20260106"), anchored_vwap),
    "corwin_schultz": Case(("corwin_schultz_20", "corwin_schultz_1"), corwin_schultz, bounds=(0.0, 2.0)),
    "opening_range": Case(("opening_range_5", "opening_range_15"), opening_range),
    "pivots": Case(("pivots",), pivots),
    "prior_day": Case(("prior_day",), prior_day),
    "vwap_bands": Case(("vwap_bands_2", "vwap_bands_0.5"), vwap_bands),
}
ROWS = [(kind, spec) for kind, case in CASES.items() for spec in case.specs]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(("kind", "spec"), ROWS, ids=[spec for _, spec in ROWS])
def test_an_indicator_follows_the_rule(kind: str, spec: str, rule: Callable[[str, str, Case], None]) -> None:
    rule(kind, spec, CASES[kind])


def of_days(*days: tuple[int, SessionPhase, float]) -> list[Bar]:
    """One-minute bars (day, session, price) with the range price - 1 to price + 1."""
    template = bars_of(1, seed=1)[0]
    return [
        template._replace(
            ts_ns=(index + 1) * MINUTE_NS,
            open_ns=index * MINUTE_NS,
            open=price,
            high=price + 1,
            low=price - 1,
            close=price,
            volume=1.0,
            traded=True,
            session=session,
            trading_day=day,
        )
        for index, (day, session, price) in enumerate(days)
    ]


def test_the_prior_day_ignores_extended_hours_and_days_without_regular_trades() -> None:
    bars = of_days(
        (1, REGULAR, 10), (1, POST, 99), (2, POST, 50), (3, PRE, 70), (3, REGULAR, 20), (4, PRE, 1), (5, PRE, 1)
    )
    rows = [row.get("prior_day_high") for row in values_of("prior_day", bars)]
    assert rows == [None, None, 11, 11, 11, 21, 21]


def test_in_a_continuous_market_every_trade_belongs_to_the_day() -> None:
    rows = values_of("prior_day", of_days((1, CONTINUOUS, 10), (1, CONTINUOUS, 12), (2, CONTINUOUS, 5)))
    assert rows == [{}, {}, {"prior_day_high": 13, "prior_day_low": 9, "prior_day_close": 12}]


def test_the_opening_range_ends_with_its_last_minute_and_not_before() -> None:
    regular: list[tuple[int, SessionPhase, float]] = [(1, REGULAR, price) for price in (10, 14, 12, 30)]
    bars = of_days((1, PRE, 90), *regular, (1, POST, 50), (2, PRE, 9))
    rows = values_of("opening_range_2", bars)
    complete = {"opening_range_2_high": 15, "opening_range_2_low": 9}
    assert rows == [{}, {}, complete, complete, complete, complete, {}]


def test_a_bar_that_ends_after_the_opening_range_is_not_part_of_it() -> None:
    first, second = of_days((1, REGULAR, 10), (1, REGULAR, 20))
    long_bar = second._replace(ts_ns=first.ts_ns + 5 * MINUTE_NS)
    assert values_of("opening_range_3", [first, long_bar])[1] == {"opening_range_3_high": 11, "opening_range_3_low": 9}


def test_a_gap_does_not_change_the_estimated_spread() -> None:
    first, second = of_days((1, REGULAR, 50), (2, REGULAR, 50))

    def estimate(close: float, high: float) -> float:
        """The first bar has the range 49 to 51 and this close, the second one the same width and this high."""
        bars = [first._replace(close=close), second._replace(high=high, low=high - 2.0, close=high - 1.0)]
        return values_of("corwin_schultz_1", bars)[1]["corwin_schultz_1"]

    without_gap_up, without_gap_down = estimate(49.25, 51.25), estimate(50.75, 50.75)
    assert without_gap_up > 0.0 and without_gap_down > 0.0
    for gap in (0.25, 5.0):
        assert estimate(49.25, 51.25 + gap) == pytest.approx(without_gap_up, rel=1e-12)
        assert estimate(50.75, 50.75 - gap) == pytest.approx(without_gap_down, rel=1e-12)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("anchored_vwap_20261332", "the day must be a date as yyyymmdd, found 20261332"),
        ("anchored_vwap_5", "the day must be a date as yyyymmdd, found 5"),
        ("opening_range_0", "must be at least 1 minute, found 0"),
        ("vwap_bands_0", "width must be > 0 standard deviations, found 0"),
        ("prior_day_3", "must have the form prior_day"),
    ],
)
def test_a_wrong_parameter_is_rejected(spec: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build(spec)
