"""SuperTrend."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.atr import Atr
from operators.indicators.indicator import Indicator, ValueUnit, new_share_price
from schemas.errors import BadInput
from schemas.records import Bar


class SuperTrend(Indicator):
    """A trailing line, in the price's unit, and the direction of the trend: 1 is up (line below), -1 is down.

    The bands are (high + low) / 2 plus and minus `multiplier` times `atr` over `period` bars. The lower band never
    falls while the previous close is at or above it, and the upper band never rises while the previous close is at or
    below it. The line is the lower band in an upward trend and the upper band in a downward trend. The trend turns up
    when a close is above the upper band, and down when a close is below the lower band. Absent before the first `atr`,
    where the trend is down. Equals `ta.supertrend` of TradingView, except for the seed of the range. Source: O. Seban.
    """

    __slots__ = ("atr", "close", "direction", "lower", "multiplier", "name", "name_direction", "upper")
    kind: ClassVar[str] = "supertrend"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int, "multiplier": float}
    suffixes: ClassVar[tuple[str, ...]] = ("", "_direction")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE, ValueUnit.RATIO)

    def __init__(self, name: str, period: int, multiplier: float) -> None:
        if multiplier <= 0.0:
            raise BadInput(f"indicator {name}: the multiplier must be > 0, found {multiplier:g}")
        self.name = name
        self.name_direction = f"{name}_direction"
        self.multiplier = multiplier
        self.atr = Atr(name, period)
        self.direction = 0  # 0 before the first value
        self.upper = 0.0
        self.lower = 0.0
        self.close = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        ranges: dict[str, float] = {}
        self.atr.update(bar, ranges)
        true_range = ranges.get(self.name)
        if true_range is None:
            return
        middle = (bar.high + bar.low) / 2.0
        upper = middle + self.multiplier * true_range
        lower = middle - self.multiplier * true_range
        if self.direction == 0:
            self.direction = -1
        else:
            # self.close is still the close of the bar before.
            if self.close <= self.upper:
                upper = min(upper, self.upper)
            if self.close >= self.lower:
                lower = max(lower, self.lower)
            if self.direction < 0:
                if bar.close > upper:
                    self.direction = 1
            elif bar.close < lower:
                self.direction = -1
        self.upper = upper
        self.lower = lower
        self.close = bar.close
        values[self.name] = lower if self.direction > 0 else upper
        values[self.name_direction] = float(self.direction)

    def rescale(self, factor: float) -> None:
        self.atr.rescale(factor)
        self.upper *= factor
        self.lower *= factor
        self.close = new_share_price(self.close, factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.atr.snapshot(), self.direction, self.upper, self.lower, self.close

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        atr, self.direction, self.upper, self.lower, self.close = snapshot
        self.atr.restore(atr)
