"""Variance."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling_moments import RollingMoments
from schemas.records import Bar


class Variance(ComposedIndicator):
    """Population variance of the last `period` closes, in the square of the price's unit. Absent before `period` bars.

    Equals TA-Lib's VAR, and pandas' rolling `var` with `ddof=0`, which both drift while prices are flat.
    """

    __slots__ = ("moments", "name", "period")
    kind: ClassVar[str] = "variance"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE_SQUARED,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.period = period
        self.moments = RollingMoments(period)
        self.parts = (self.moments,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        if self.moments.push(bar.close):
            values[self.name] = self.moments.square_sum / self.period
