"""Stochastic oscillator."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from schemas.records import Bar


class Stochastic(Indicator):
    """Position of the close in the range of the last `period` bars, 0 to 100 (k), and k's mean over `smooth` bars (d).

    k is absent before `period` bars and if the range is 0; d is absent before `smooth` consecutive k values. Equals
    `ta.momentum.StochasticOscillator` and TA-Lib's STOCHF ("fast"), which returns 0 for a range of 0.
    """

    __slots__ = (
        "highs",
        "lows",
        "name_d",
        "name_k",
        "oldest",
        "period",
        "recent_k",
        "smooth",
        "window_high",
        "window_low"
    )  # fmt: skip
    kind: ClassVar[str] = "stochastic"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int, "smooth": int}
    suffixes: ClassVar[tuple[str, ...]] = ("_k", "_d")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int, smooth: int) -> None:
        check_period(name, period)
        check_period(name, smooth)
        self.name_k = f"{name}_k"
        self.name_d = f"{name}_d"
        self.period = period
        self.smooth = smooth
        self.highs: list[float] = []
        self.lows: list[float] = []
        self.oldest = 0  # index of the oldest bar once the window is full
        self.window_high = 0.0
        self.window_low = 0.0
        self.recent_k: list[float] = []

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        highs = self.highs
        lows = self.lows
        high = bar.high
        low = bar.low
        if len(highs) < self.period:
            highs.append(high)
            lows.append(low)
            if len(highs) < self.period:
                return
            self.window_high = high = max(highs)
            self.window_low = low = min(lows)
        else:
            # This bar replaces the oldest one. The window is scanned only if the dropped bar was its high or low.
            oldest = self.oldest
            dropped, highs[oldest] = highs[oldest], high
            if high >= self.window_high:
                self.window_high = high
            else:
                if dropped == self.window_high:
                    self.window_high = max(highs)
                high = self.window_high
            dropped, lows[oldest] = lows[oldest], low
            if low <= self.window_low:
                self.window_low = low
            else:
                if dropped == self.window_low:
                    self.window_low = min(lows)
                low = self.window_low
            oldest += 1
            self.oldest = 0 if oldest == self.period else oldest
        recent_k = self.recent_k
        if high == low:
            recent_k.clear()
            return
        values[self.name_k] = k = (bar.close - low) * 100.0 / (high - low)
        recent_k.append(k)
        if len(recent_k) == self.smooth:
            values[self.name_d] = sum(recent_k) / self.smooth
            del recent_k[0]

    def rescale(self, factor: float) -> None:
        self.highs = [new_share_price(high, factor) for high in self.highs]
        self.lows = [new_share_price(low, factor) for low in self.lows]
        self.window_high = max(self.highs, default=0.0)
        self.window_low = min(self.lows, default=0.0)

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.highs), tuple(self.lows), self.oldest, tuple(self.recent_k)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        highs, lows, self.oldest, recent_k = snapshot
        self.highs = list(highs)
        self.lows = list(lows)
        self.recent_k = list(recent_k)
        self.window_high = max(highs, default=0.0)
        self.window_low = min(lows, default=0.0)
