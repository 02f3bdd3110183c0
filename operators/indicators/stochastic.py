"""Stochastic oscillator."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, check_period
from schemas.records import Bar


class Stochastic(Indicator):
    """Where the close stands in the range of the last `period` bars, 0 to 100 (k), and k's mean over `smooth` bars (d).

    Absent before `period` bars, d before `smooth` k's in a row; k also where the range is 0. Equals
    `ta.momentum.StochasticOscillator` and TA-Lib's STOCHF ("fast"), which gives 0 for a range of 0.
    """

    __slots__ = (
        "at", "high", "highs", "ks", "low", "lows", "name_d", "name_k", "period", "smooth"
    )  # fmt: skip
    kind: ClassVar[str] = "stochastic"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int, "smooth": int}
    suffixes: ClassVar[tuple[str, ...]] = ("_k", "_d")

    def __init__(self, name: str, period: int, smooth: int) -> None:
        check_period(name, period)
        check_period(name, smooth)
        self.name_k = f"{name}_k"
        self.name_d = f"{name}_d"
        self.period = period
        self.smooth = smooth
        self.highs: list[float] = []
        self.lows: list[float] = []
        self.at = 0  # where the oldest bar stands, once the window is full
        self.high = 0.0  # of highs
        self.low = 0.0
        self.ks: list[float] = []

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
            self.high = high = max(highs)
            self.low = low = min(lows)
        else:
            # This bar takes the place of the oldest; the window is looked through only when an end of its range goes.
            at = self.at
            before, highs[at] = highs[at], high
            if high >= self.high:
                self.high = high
            else:
                if before == self.high:
                    self.high = max(highs)
                high = self.high
            before, lows[at] = lows[at], low
            if low <= self.low:
                self.low = low
            else:
                if before == self.low:
                    self.low = min(lows)
                low = self.low
            at += 1
            self.at = 0 if at == self.period else at
        ks = self.ks
        if high == low:
            ks.clear()
            return
        values[self.name_k] = k = (bar.close - low) * 100.0 / (high - low)
        ks.append(k)
        if len(ks) == self.smooth:
            values[self.name_d] = sum(ks) / self.smooth
            del ks[0]

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.highs), tuple(self.lows), self.at, tuple(self.ks)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        highs, lows, self.at, ks = snapshot
        self.highs = list(highs)
        self.lows = list(lows)
        self.ks = list(ks)
        self.high = max(highs, default=0.0)
        self.low = min(lows, default=0.0)
