"""Kurtosis."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling_moments import RollingMoments
from schemas.records import Bar


class Kurtosis(ComposedIndicator):
    """Sample excess kurtosis of the last `period` closes: 0 if normal; of returns with `kurtosis_60(roc_1)`.

    (n - 1) / ((n - 2)(n - 3)) * ((n + 1) n M4 / M2^2 - 3 (n - 1)) with the sums M2 and M4 of the second and fourth
    powers of the deviations from the mean. Absent before `period` bars and if all closes are equal. Equals pandas'
    rolling `kurt`. Source: D. Joanes, C. Gill, Comparing measures of sample skewness and kurtosis (1998).
    """

    __slots__ = ("moments", "name", "period")
    kind: ClassVar[str] = "kurtosis"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 4)
        self.name = name
        self.period = period
        self.moments = RollingMoments(period, 4)
        self.parts = (self.moments,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        moments = self.moments
        if not moments.push(bar.close):
            return
        n, divisor = self.period, moments.square_sum**2
        if divisor > 1e-300:  # equal closes
            ratio = (n + 1) * n * moments.fourth_sum / divisor
            values[self.name] = (n - 1) / ((n - 2) * (n - 3)) * (ratio - 3.0 * (n - 1))
