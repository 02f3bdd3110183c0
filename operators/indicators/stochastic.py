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
        if len(highs) < self.period:
            highs.append(bar.high)
            self.lows.append(bar.low)
            if len(highs) < self.period:
                return
            self.high = high = max(highs)
            self.low = low = min(self.lows)
        else:
            high, low = self._move(bar)
        ks = self.ks
        if high == low:
            ks.clear()
            return
        k = (bar.close - low) * 100.0 / (high - low)
        ks.append(k)
        values[self.name_k] = k
        if len(ks) >= self.smooth:
            values[self.name_d] = sum(ks) / self.smooth
            del ks[0]

    def _move(self, bar: Bar) -> tuple[float, float]:
        """The range with this bar in the place of the oldest; looks through the window only when an end of it goes."""
        at = self.at
        highs = self.highs
        before = highs[at]
        highs[at] = high = bar.high
        if high >= self.high:
            self.high = high
        elif before == self.high:
            self.high = max(highs)
        lows = self.lows
        before = lows[at]
        lows[at] = low = bar.low
        if low <= self.low:
            self.low = low
        elif before == self.low:
            self.low = min(lows)
        at += 1
        self.at = 0 if at == self.period else at
        return self.high, self.low

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.highs), tuple(self.lows), self.at, tuple(self.ks)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        highs, lows, self.at, ks = snapshot
        self.highs = list(highs)
        self.lows = list(lows)
        self.ks = list(ks)
        self.high = max(highs, default=0.0)
        self.low = min(lows, default=0.0)
