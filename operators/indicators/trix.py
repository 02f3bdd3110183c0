"""TRIX."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import ExponentialAverage, PastValue
from schemas.records import Bar


class Trix(ComposedIndicator):
    """Change of the triple exponential average of the close from bar to bar, in percent.

    The average is applied three times; the seed of each is its first input, and each starts with the first value of the
    one before. Absent before 3 `period` - 1 bars. Equals `ta.trend.TRIXIndicator`; TA-Lib's TRIX uses simple averages
    as the seeds and converges to the same value. Source: J. Hutson, Good TRIX, Technical Analysis of Stocks &
    Commodities (1983).
    """

    __slots__ = ("first", "last_average", "name", "second", "third")
    kind: ClassVar[str] = "trix"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.first = ExponentialAverage(period)
        self.second = ExponentialAverage(period)
        self.third = ExponentialAverage(period)
        self.last_average = PastValue(1)
        self.parts = (self.first, self.second, self.third, self.last_average)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        first = self.first.push(bar.close)
        if first is None:
            return
        second = self.second.push(first)
        if second is None:
            return
        third = self.third.push(second)
        if third is None:
            return
        last = self.last_average.push(third)
        if last:  # None in warm-up; an input such as the volume can be 0
            values[self.name] = (third - last) * 100.0 / last
