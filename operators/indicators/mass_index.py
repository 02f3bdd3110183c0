"""Mass index."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import ExponentialAverage, RollingSum
from schemas.records import Bar


class MassIndex(ComposedIndicator):
    """Sum over `slow` bars of the ratio of two averages of high - low: one exponential over `fast` bars, and its
    average.

    About `slow` while the ranges are steady; above it while they widen. The seed of each average is its first input;
    the second starts with the first value of the first. Absent before 2 `fast` + `slow` - 2 bars; where no bar has had
    a range, the ratio is undefined and the sum starts again. Equals `ta.trend.MassIndex`. Source: D. Dorsey, The Mass
    Index, Technical Analysis of Stocks & Commodities (1992).
    """

    __slots__ = ("double", "name", "single", "total")
    kind: ClassVar[str] = "mass_index"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"fast": int, "slow": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, fast: int, slow: int) -> None:
        check_period(name, fast)
        check_period(name, slow)
        self.name = name
        self.single = ExponentialAverage(fast)
        self.double = ExponentialAverage(fast)
        self.total = RollingSum(slow, price_power=0)
        self.parts = (self.single, self.double, self.total)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        single = self.single.push(bar.high - bar.low)
        if single is None:
            return
        double = self.double.push(single)
        if double is None:
            return
        if double < 1e-300:  # a long pause has rounded the averages to 0
            self.total.clear()
            return
        total = self.total.push(single / double)
        if total is not None:
            values[self.name] = total
