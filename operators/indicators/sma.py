"""Simple moving average."""

from __future__ import annotations

from math import fsum
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period
from schemas.records import Bar


class Sma(Indicator):
    """Mean of the last `period` closes, in the price's unit, absent during warm-up. Equals TA-Lib's SMA and `ta`'s.

    The running sum is recomputed once per window length, which bounds the rounding error.
    """

    __slots__ = ("name", "oldest", "period", "total", "window")
    kind: ClassVar[str] = "sma"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.window: list[float] = []
        self.oldest = 0  # index of the oldest close once the window is full
        self.total = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        window = self.window
        oldest = self.oldest
        if len(window) < self.period:
            window.append(close)
            if len(window) < self.period:
                return
            self.total = fsum(window)
        else:
            self.total += close - window[oldest]
            window[oldest] = close
            oldest += 1
            if oldest == self.period:
                oldest = 0
                self.total = fsum(window)
            self.oldest = oldest
        values[self.name] = self.total / self.period

    def rescale(self, factor: float) -> None:
        self.window = [close * factor for close in self.window]
        self.total = fsum(self.window)

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.window), self.oldest, self.total

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        window, self.oldest, self.total = snapshot
        self.window = list(window)
