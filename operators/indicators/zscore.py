"""Z-score."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling_moments import RollingMoments
from schemas.records import Bar


class ZScore(ComposedIndicator):
    """Distance of the close from the mean of the last `period` closes, in population standard deviations.

    Absent before `period` bars and if all closes are equal.
    """

    __slots__ = ("moments", "name", "period")
    kind: ClassVar[str] = "zscore"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.period = period
        self.moments = RollingMoments(period)
        self.parts = (self.moments,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        moments = self.moments
        if moments.push(bar.close) and moments.square_sum > 0.0:
            values[self.name] = (bar.close - moments.mean) / sqrt(moments.square_sum / self.period)
