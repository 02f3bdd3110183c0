"""Rogers-Satchell volatility."""

from __future__ import annotations

from math import log, sqrt
from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingSum
from schemas.records import Bar


def rogers_satchell_variance(bar: Bar) -> float:
    """Return the variance of the log price within one bar."""
    high, low, close, open_price = bar.high, bar.low, bar.close, bar.open
    return log(high / close) * log(high / open_price) + log(low / close) * log(low / open_price)


class RogersSatchell(ComposedIndicator):
    """Volatility from open, high, low and close of the last `period` bars, also while prices trend.

    The square root of the mean of ln(high / close) ln(high / open) + ln(low / close) ln(low / open). Per bar, as a
    fraction; times the square root of the bars of a year it is annualized. Absent before `period` bars. Assumes no
    gaps. Equals TTR's `volatility(calc = "rogers.satchell")` with N = 1. Source: L. Rogers, S. Satchell, Estimating
    Variance from High, Low and Closing Prices (1991).
    """

    __slots__ = ("name", "period", "variances")
    kind: ClassVar[str] = "rogers_satchell"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.variances = RollingSum(period, price_power=0)
        self.parts = (self.variances,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        total = self.variances.push(rogers_satchell_variance(bar))
        if total is not None:
            values[self.name] = sqrt(max(total, 0.0) / self.period)
