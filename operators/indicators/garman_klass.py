"""Garman-Klass volatility."""

from __future__ import annotations

from math import log, sqrt
from typing import ClassVar, Final

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingSum
from schemas.records import Bar

BODY_WEIGHT: Final = 2.0 * log(2.0) - 1.0


class GarmanKlass(ComposedIndicator):
    """Volatility from open, high, low and close of the last `period` bars.

    The square root of the mean of ln(high / low)² / 2 - (2 ln 2 - 1) ln(close / open)². Per bar, as a fraction; times
    the square root of the bars of a year it is annualized. Absent before `period` bars. Assumes no drift and no gaps.
    Equals TTR's `volatility(calc = "garman.klass")` with N = 1. Source: M. Garman, M. Klass, On the Estimation of
    Security Price Volatilities from Historical Data (1980).
    """

    __slots__ = ("name", "period", "variances")
    kind: ClassVar[str] = "garman_klass"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.variances = RollingSum(period, price_power=0)
        self.parts = (self.variances,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        range_square, body_square = log(bar.high / bar.low) ** 2, log(bar.close / bar.open) ** 2
        total = self.variances.push(0.5 * range_square - BODY_WEIGHT * body_square)
        if total is not None:
            values[self.name] = sqrt(max(total, 0.0) / self.period)
