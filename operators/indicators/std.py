"""Standard deviation."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling_moments import RollingMoments
from schemas.records import Bar


class Std(ComposedIndicator):
    """Population standard deviation of the last `period` closes, in the price's unit, absent before `period` bars.

    Equals TA-Lib's STDDEV, and pandas' rolling `std` with `ddof=0`, which both drift while prices are flat.
    """

    __slots__ = ("moments", "name", "period")
    kind: ClassVar[str] = "std"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE_CHANGE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.period = period
        self.moments = RollingMoments(period)
        self.parts = (self.moments,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        if self.moments.push(bar.close):
            values[self.name] = sqrt(self.moments.square_sum / self.period)
