"""Vortex indicator."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import PastValue, RollingSum
from schemas.records import Bar


class Vortex(ComposedIndicator):
    """Upward (plus) and downward (minus) movement over `period` bars, in true ranges; each about 1 without a trend.

    The upward movement of a bar is the distance of its high from the previous low, the downward movement that of its
    low from the previous high. The true range is that of `atr`. Absent before `period` + 1 bars, and without a range.
    Equals `ta.trend.VortexIndicator` after its first values, for which `ta` uses a mean over all bars. Source: E. Botes
    and D. Siepman, The Vortex Indicator, Technical Analysis of Stocks & Commodities (2010).
    """

    __slots__ = ("last_close", "last_high", "last_low", "minus", "name_minus", "name_plus", "plus", "ranges")
    kind: ClassVar[str] = "vortex"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    suffixes: ClassVar[tuple[str, ...]] = ("_plus", "_minus")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name_plus = f"{name}_plus"
        self.name_minus = f"{name}_minus"
        self.last_high = PastValue(1)
        self.last_low = PastValue(1)
        self.last_close = PastValue(1)
        self.plus = RollingSum(period)
        self.minus = RollingSum(period)
        self.ranges = RollingSum(period)
        self.parts = (self.last_high, self.last_low, self.last_close, self.plus, self.minus, self.ranges)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        high = bar.high
        low = bar.low
        last_high = self.last_high.push(high)
        last_low = self.last_low.push(low)
        last_close = self.last_close.push(bar.close)
        if last_high is None or last_low is None or last_close is None:
            return
        plus = self.plus.push(abs(high - last_low))
        minus = self.minus.push(abs(low - last_high))
        ranges = self.ranges.push(max(high, last_close) - min(low, last_close))
        if plus is not None and minus is not None and ranges:
            values[self.name_plus] = plus / ranges
            values[self.name_minus] = minus / ranges
