"""Double exponential moving average."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import ExponentialAverage
from schemas.records import Bar


class Dema(ComposedIndicator):
    """Twice the exponential average of the close minus the average of that average, in the price's unit.

    The seed of each average is its first input; the second one starts with the first value of the first. Absent before
    2 `period` - 1 bars. TA-Lib's DEMA uses simple averages as the seeds and converges to the same value. Source: P.
    Mulloy, Smoothing Data with Faster Moving Averages, Technical Analysis of Stocks & Commodities (1994).
    """

    __slots__ = ("first", "name", "second")
    kind: ClassVar[str] = "dema"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.first = ExponentialAverage(period)
        self.second = ExponentialAverage(period)
        self.parts = (self.first, self.second)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        first = self.first.push(bar.close)
        if first is None:
            return
        second = self.second.push(first)
        if second is not None:
            values[self.name] = 2.0 * first - second
