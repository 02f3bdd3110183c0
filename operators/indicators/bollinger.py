"""Bollinger bands."""

from __future__ import annotations

from math import fsum, sqrt
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, check_period
from schemas.errors import BadInput
from schemas.records import Bar


class Bollinger(Indicator):
    """Mean of the last `period` closes, and `width` population standard deviations above and below; absent before.

    In the price's unit. Equals `ta.volatility.BollingerBands` and TA-Lib's BBANDS with a simple average.

    The sum of squared deviations moves with the window (Welford's update, with one value going as another comes), not
    as E[x^2] - E[x]^2, which has no digits left at a price of 1e5. It is taken anew once a window length, and when it
    has fallen so far below its peak that the rounding of the peak would show.
    """

    __slots__ = (
        "at", "mean", "name_lower", "name_middle", "name_upper", "peak", "period", "squares", "width", "window"
    )  # fmt: skip
    kind: ClassVar[str] = "bollinger"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int, "width": float}
    suffixes: ClassVar[tuple[str, ...]] = ("_upper", "_middle", "_lower")

    def __init__(self, name: str, period: int, width: float) -> None:
        check_period(name, period, 2)
        if width <= 0:
            raise BadInput(f"indicator {name}: the width must be above 0 standard deviations")
        self.name_upper = f"{name}_upper"
        self.name_middle = f"{name}_middle"
        self.name_lower = f"{name}_lower"
        self.period = period
        self.width = width
        self.window: list[float] = []
        self.at = 0  # where the oldest close stands, once the window is full
        self.mean = 0.0
        self.squares = 0.0  # sum of squared deviations from the mean
        self.peak = 0.0  # of squares, since they were taken anew

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        window = self.window
        period = self.period
        if len(window) < period:
            window.append(close)
            if len(window) < period:
                return
            self._anew()
            mean = self.mean
            squares = self.squares
        else:
            at = self.at
            before = window[at]
            window[at] = close
            change = close - before
            last = self.mean
            self.mean = mean = last + change / period
            self.squares = squares = self.squares + change * (close - mean + before - last)
            at += 1
            if at == period:
                at = 0
            self.at = at
            if at == 0 or squares < 1e-4 * self.peak:
                self._anew()
                mean = self.mean
                squares = self.squares
            elif squares > self.peak:
                self.peak = squares
        reach = self.width * sqrt(squares / period)
        values[self.name_upper] = mean + reach
        values[self.name_middle] = mean
        values[self.name_lower] = mean - reach

    def _anew(self) -> None:
        # Two passes, the second on the remainder, so that a mean that was rounded does not count as deviation.
        mean = fsum(self.window) / self.period
        self.mean = mean
        self.squares = self.peak = fsum([(close - mean) ** 2 for close in self.window])

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.window), self.at, self.mean, self.squares, self.peak

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        window, self.at, self.mean, self.squares, self.peak = snapshot
        self.window = list(window)
