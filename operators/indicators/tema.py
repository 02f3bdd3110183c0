"""Triple exponential moving average."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import ExponentialAverage
from schemas.records import Bar


class Tema(ComposedIndicator):
    """3 a - 3 b + c, in the price's unit: a averages the close exponentially, b averages a, and c averages b.

    The seed of each average is its first input; b and c start with the first value of the average before. Absent before
    3 `period` - 2 bars. TA-Lib's TEMA uses simple averages as the seeds and converges to the same value. Source: P.
    Mulloy, Smoothing Data with Less Lag, Technical Analysis of Stocks & Commodities (1994).
    """

    __slots__ = ("first", "name", "second", "third")
    kind: ClassVar[str] = "tema"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.first = ExponentialAverage(period)
        self.second = ExponentialAverage(period)
        self.third = ExponentialAverage(period)
        self.parts = (self.first, self.second, self.third)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        first = self.first.push(bar.close)
        if first is None:
            return
        second = self.second.push(first)
        if second is None:
            return
        third = self.third.push(second)
        if third is not None:
            values[self.name] = 3.0 * (first - second) + third
