"""Skewness."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling_moments import RollingMoments
from schemas.records import Bar


class Skewness(ComposedIndicator):
    """Sample skewness of the last `period` closes; of returns with `skewness_60(roc_1)`.

    n sqrt(n - 1) / (n - 2) * M3 / M2^1.5 with the sums M2 and M3 of squared and cubed deviations from the mean: the
    adjusted Fisher-Pearson coefficient. Absent before `period` bars and if all closes are equal. Equals pandas' rolling
    `skew`. Source: D. Joanes, C. Gill, Comparing measures of sample skewness and kurtosis (1998).
    """

    __slots__ = ("moments", "name", "period")
    kind: ClassVar[str] = "skewness"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 3)
        self.name = name
        self.period = period
        self.moments = RollingMoments(period, 3)
        self.parts = (self.moments,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        moments = self.moments
        if not moments.push(bar.close):
            return
        n, divisor = self.period, moments.square_sum**1.5
        if divisor > 1e-300:  # equal closes
            values[self.name] = n * sqrt(n - 1) / (n - 2) * moments.cube_sum / divisor
