"""Choppiness index."""

from __future__ import annotations

from math import log
from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import PastValue, RollingMaximum, RollingSum
from schemas.records import Bar


class Choppiness(ComposedIndicator):
    """log(sum of the true ranges / range of the window) / log(`period`), in percent: high in a sideways market.

    0 is a straight line. The window is the last `period` bars; the true range is that of `atr`. Absent before `period`
    + 1 bars, and if the window has no range. Equals the formula with TA-Lib's TRANGE, SUM, MAX and MIN. Source: E. W.
    Dreiss (1993).
    """

    __slots__ = ("highest", "last_close", "lowest_negated", "name", "ranges", "scale")
    kind: ClassVar[str] = "choppiness"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.scale = 100.0 / log(period)
        self.last_close = PastValue(1)
        self.ranges = RollingSum(period)
        self.highest = RollingMaximum(period)
        self.lowest_negated = RollingMaximum(period)
        self.parts = (self.last_close, self.ranges, self.highest, self.lowest_negated)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        window_range = self.highest.push(bar.high) + self.lowest_negated.push(-bar.low)
        last_close = self.last_close.push(bar.close)
        if last_close is None:
            return
        total = self.ranges.push(max(bar.high, last_close) - min(bar.low, last_close))
        if total is not None and total > 0.0 and window_range > 0.0:
            values[self.name] = log(total / window_range) * self.scale
