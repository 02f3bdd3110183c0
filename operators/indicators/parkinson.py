"""Parkinson volatility."""

from __future__ import annotations

from math import log, sqrt
from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingSum
from schemas.records import Bar


class Parkinson(ComposedIndicator):
    """Volatility from the ranges of the last `period` bars: sqrt(mean(ln(high / low)²) / (4 ln 2)).

    Per bar, as a fraction; times the square root of the bars of a year it is annualized. Absent before `period` bars.
    Assumes no drift and no gaps. Equals TTR's `volatility(calc = "parkinson")` with N = 1. Source: M. Parkinson, The
    Extreme Value Method for Estimating the Variance of the Rate of Return (1980).
    """

    __slots__ = ("divisor", "name", "variances")
    kind: ClassVar[str] = "parkinson"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.divisor = period * 4.0 * log(2.0)
        self.variances = RollingSum(period, price_power=0)
        self.parts = (self.variances,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        total = self.variances.push(log(bar.high / bar.low) ** 2)
        if total is not None:
            values[self.name] = sqrt(max(total, 0.0) / self.divisor)
