"""Average true range."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from schemas.records import Bar


class Atr(Indicator):
    """Wilder's average true range, in the price's unit: the mean of `period` ranges, then smoothed with 1/period.

    The true range is the distance from the lower of low and previous close to the higher of high and previous close.
    The first bar has no true range, so the first value is at bar `period` + 1. Equals TA-Lib's ATR; `ta` includes the
    first bar's high - low and returns 0 in warm-up. Source: J. W. Wilder, New Concepts in Technical Trading Systems
    (1978).
    """

    __slots__ = ("alpha", "close", "name", "period", "ranges_seen", "value")
    kind: ClassVar[str] = "atr"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE_CHANGE,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.alpha = 1.0 / period
        self.ranges_seen = -1  # at most period
        self.close = 0.0
        self.value = 0.0  # a sum while ranges_seen < period

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        high = bar.high
        low = bar.low
        previous_close = self.close
        self.close = bar.close
        if previous_close > high:
            high = previous_close
        elif previous_close < low:
            low = previous_close
        value = self.value
        if self.ranges_seen == self.period:
            self.value = value = value + (high - low - value) * self.alpha
            values[self.name] = value
            return
        if self.ranges_seen >= 0:
            self.value = value + (high - low)
        self.ranges_seen += 1
        if self.ranges_seen == self.period:
            self.value = values[self.name] = self.value / self.period

    def rescale(self, factor: float) -> None:
        self.close = new_share_price(self.close, factor)
        self.value *= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.ranges_seen, self.close, self.value

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.ranges_seen, self.close, self.value = snapshot
