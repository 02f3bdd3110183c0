"""Performance metrics: the one set of formulas for the backtest report, the API and the dashboard.

A series of returns has one fraction per period (0.01 is 1 %), net of deposits and withdrawals. `periods_a_year` is 252
for daily returns at an exchange with weekends, 365 on a 24/7 market, or the number of bars a year for returns per bar.
The risk-free rate is 0. A metric that is not defined, such as a ratio without variation, is None.

The formulas are those of empyrical (https://github.com/quantopian/empyrical); the tests compare them. Sources:
W. F. Sharpe (1994), Journal of Portfolio Management 21(1); F. A. Sortino, R. van der Meer (1991), Journal of Portfolio
Management 17(4); T. W. Young (1991), Futures 20(1), for Calmar; R. Grinold, R. Kahn (2000), Active Portfolio
Management, for the information ratio; M. C. Jensen (1968), Journal of Finance 23(2), for alpha.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from operators.money import ZERO

TRADING_DAYS_A_YEAR = 252
DAYS_A_YEAR = 365
TAIL_SHARE = 0.05
"""Share of the worst periods in value at risk and expected shortfall; the tail ratio uses it at both ends."""


class ReturnMetrics(NamedTuple):
    """Metrics of one series of returns. Annualized: `cagr`, `volatility` and the three ratios."""

    total_return: float | None
    cagr: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    tail_ratio: float | None
    value_at_risk: float | None  # the return that 5 % of the periods fall below
    expected_shortfall: float | None  # the mean of the returns up to there


NO_RETURN_METRICS = ReturnMetrics(*[None] * len(ReturnMetrics._fields))


class BenchmarkMetrics(NamedTuple):
    """Metrics of a series of returns against a benchmark's. `alpha` is annualized, `information_ratio` is not."""

    alpha: float | None
    beta: float | None
    information_ratio: float | None


def return_metrics(returns: Sequence[float], periods_a_year: float, max_drawdown: float | None = None) -> ReturnMetrics:
    """Return the metrics of a series; all None for an empty one.

    `max_drawdown`, a positive fraction, is the one to divide by in Calmar. It defaults to that of the series, which
    misses what happens within a period.
    """
    if not returns:
        return NO_RETURN_METRICS
    growth = _growth(returns)
    mean, deviation = _mean(returns), _deviation(returns)
    downside = math.sqrt(_mean([min(one, 0.0) ** 2 for one in returns]))
    cagr = annual_growth(growth, len(returns), periods_a_year)
    drawdown = largest_drawdown(returns) if max_drawdown is None else max_drawdown
    low, high = percentile(returns, 100 * TAIL_SHARE), percentile(returns, 100 * (1 - TAIL_SHARE))
    worst = sorted(returns)[: int((len(returns) - 1) * TAIL_SHARE) + 1]
    return ReturnMetrics(
        total_return=growth - 1,
        cagr=cagr,
        volatility=None if deviation is None else deviation * math.sqrt(periods_a_year),
        sharpe=mean / deviation * math.sqrt(periods_a_year) if deviation else None,
        sortino=mean / downside * math.sqrt(periods_a_year) if downside else None,
        calmar=cagr / drawdown if drawdown and cagr is not None else None,
        tail_ratio=abs(high) / abs(low) if low else None,
        value_at_risk=low,
        expected_shortfall=_mean(worst),
    )


def benchmark_metrics(returns: Sequence[float], benchmark: Sequence[float], periods_a_year: float) -> BenchmarkMetrics:
    """Return the metrics against a benchmark over the same periods; all None below two periods.

    Beta and alpha are None if the benchmark does not vary, the information ratio if the difference does not.
    """
    assert len(returns) == len(benchmark), f"{len(returns)} returns and {len(benchmark)} of the benchmark"
    if len(returns) < 2:
        return BenchmarkMetrics(None, None, None)
    benchmark_mean = _mean(benchmark)
    centred = [one - benchmark_mean for one in benchmark]
    variation = math.fsum(one * one for one in centred)
    active = [one - other for one, other in zip(returns, benchmark, strict=True)]
    active_deviation = _deviation(active)
    information_ratio = _mean(active) / active_deviation if active_deviation else None
    if not variation:
        return BenchmarkMetrics(None, None, information_ratio)
    beta = math.fsum(one * other for one, other in zip(returns, centred, strict=True)) / variation
    period_alpha = _mean([one - beta * other for one, other in zip(returns, benchmark, strict=True)])
    alpha = annual_growth(1 + period_alpha, 1, periods_a_year)
    return BenchmarkMetrics(alpha, beta, information_ratio)


def paired_returns(daily: Mapping[int, float], closes: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """Return the daily returns and those of a benchmark's closes, on the days that both have.

    `daily` and `closes` are by day and in its order. A day of the benchmark needs the close of the day before.

    >>> paired_returns({1: 0.5, 2: 0.1, 3: 0.2}, {1: 10.0, 2: 11.0, 4: 12.0})
    ([0.1], [0.10000000000000009])
    """
    changes = {
        day: close / closes[before] - 1 for before, (day, close) in zip(closes, list(closes.items())[1:], strict=False)
    }
    days = [day for day in daily if day in changes]
    return [daily[day] for day in days], [changes[day] for day in days]


def annual_growth(growth: float, periods: int, periods_a_year: float) -> float | None:
    """Return the compound return a year for a growth factor over some periods.

    -1 after a total loss; None if the result exceeds a double.

    >>> round(annual_growth(1.1, 126, 252), 9)
    0.21
    """
    if growth <= 0:
        return -1.0
    power = math.log(growth) * periods_a_year / periods
    return math.expm1(power) if power < 700 else None


def largest_drawdown(returns: Iterable[float]) -> float:
    """Return the largest fall from a peak of the compounded returns, as a positive fraction of the peak.

    >>> round(largest_drawdown([0.1, -0.5, 0.2]), 9)
    0.5
    """
    value = peak = 1.0
    largest = 0.0
    for one in returns:
        value *= 1 + one
        peak = max(peak, value)
        largest = max(largest, 1 - value / peak)
    return largest


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile with linear interpolation between the two nearest values.

    >>> percentile([1.0, 2.0, 4.0], 75)
    3.0
    """
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _growth(returns: Sequence[float]) -> float:
    """Return the compounded growth factor; it stays where it first falls to 0 or below."""
    growth = 1.0
    for one in returns:
        growth *= 1 + one
        if growth <= 0:
            break
    return growth


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation; None for one value, and 0 where rounding alone makes values differ."""
    if len(values) < 2:
        return None
    mean = _mean(values)
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in values) / (len(values) - 1))
    return deviation if deviation > 1e-15 * max(1.0, abs(mean)) else 0.0


class ClosedLots(NamedTuple):
    """Totals of closed lots, net of fees. `loss` is positive; a lot without a profit counts as a loss."""

    trades: int = 0
    wins: int = 0
    profit: Decimal = ZERO
    loss: Decimal = ZERO

    def with_lot(self, net: Decimal) -> ClosedLots:
        if net > 0:
            return ClosedLots(self.trades + 1, self.wins + 1, self.profit + net, self.loss)
        return ClosedLots(self.trades + 1, self.wins, self.profit, self.loss - net)

    @property
    def win_rate(self) -> float | None:
        return self.wins / self.trades if self.trades else None

    @property
    def profit_factor(self) -> float | None:
        """Sum of profits / sum of losses; None without a loss."""
        return float(self.profit / self.loss) if self.loss else None

    @property
    def expectancy(self) -> float | None:
        """Mean profit of a closed lot, in money."""
        return float(self.profit - self.loss) / self.trades if self.trades else None


class DrawdownTracker:
    """The largest drawdown of a curve with its dates, value by value.

    largest       the fall as a positive fraction of the peak; more than 1 if the equity falls below 0
    start_ns      last time at the peak before it; the first time if that is the initial value
    trough_ns     time of the lowest value
    recovered_ns  first time back at the peak; 0 while below it
    """

    __slots__ = ("_peak_ns", "largest", "peak", "recovered_ns", "start_ns", "trough_ns")

    def __init__(self, initial: float) -> None:
        self.peak = initial
        self.largest = 0.0
        self._peak_ns = self.start_ns = self.trough_ns = self.recovered_ns = 0

    def add(self, ts_ns: int, value: float) -> None:
        peak = self.peak
        if not self._peak_ns:
            self._peak_ns = ts_ns  # the curve starts at its initial peak
        if value >= peak:
            self.peak, self._peak_ns = value, ts_ns
            if not self.recovered_ns and self.trough_ns:
                self.recovered_ns = ts_ns
        elif peak > 0:
            drawdown = 1 - value / peak
            if drawdown > self.largest:
                self.largest, self.trough_ns, self.recovered_ns = drawdown, ts_ns, 0
                self.start_ns = self._peak_ns

    def duration_ns(self, end_ns: int) -> int:
        """Return the time from the peak to the recovery, or to `end_ns` without one."""
        return (self.recovered_ns or end_ns) - self.start_ns if self.trough_ns else 0

    def snapshot(self) -> tuple[Any, ...]:
        return (self.largest, self.peak, self._peak_ns, self.start_ns, self.trough_ns, self.recovered_ns)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.largest, self.peak, self._peak_ns, self.start_ns, self.trough_ns, self.recovered_ns = snapshot
