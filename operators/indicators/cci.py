"""Commodity channel index."""

from __future__ import annotations

from bisect import bisect_left, insort
from math import fsum
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from schemas.records import Bar


class Cci(Indicator):
    """Distance of the typical price (high + low + close) / 3 from its `period`-bar mean, in 0.015 mean deviations.

    Absent before `period` bars, and if all of them have the same typical price. Equals TA-Lib's CCI and
    `ta.trend.CCIIndicator`. Source: D. Lambert, Commodities (1980).

    The mean deviation has no O(1) update. A sorted copy of the window finds the prices above the mean by bisection;
    their deviations are half of the total. The relative precision is that of the prices, 1e-15.
    """

    __slots__ = ("name", "oldest", "period", "sorted_window", "total", "window")
    kind: ClassVar[str] = "cci"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.period = period
        self.window: list[float] = []
        self.sorted_window: list[float] = []
        self.oldest = 0  # index of the oldest price once the window is full
        self.total = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        price = (bar.high + bar.low + bar.close) / 3.0
        window = self.window
        sorted_window = self.sorted_window
        period = self.period
        insort(sorted_window, price)
        if len(window) < period:
            window.append(price)
            if len(window) < period:
                return
            self.total = total = fsum(window)
        else:
            oldest = self.oldest
            dropped = window[oldest]
            window[oldest] = price
            del sorted_window[bisect_left(sorted_window, dropped)]
            oldest += 1
            if oldest == period:
                oldest = 0
                total = fsum(window)
            else:
                total = self.total + (price - dropped)
            self.oldest = oldest
            self.total = total
        mean = total / period
        above = sorted_window[bisect_left(sorted_window, mean) :]
        deviation = 2.0 * (sum(above) - len(above) * mean)
        if deviation > 1e-13 * total:  # a smaller deviation is the rounding error of equal prices
            values[self.name] = (price - mean) * period / (0.015 * deviation)

    def rescale(self, factor: float) -> None:
        self.window = [new_share_price(price, factor) for price in self.window]
        self.sorted_window = sorted(self.window)
        self.total = fsum(self.window)

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.window), self.oldest, self.total

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        window, self.oldest, self.total = snapshot
        self.window = list(window)
        self.sorted_window = sorted(window)
