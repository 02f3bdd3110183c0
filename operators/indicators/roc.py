"""Rate of change."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, check_period
from schemas.records import Bar


class Roc(Indicator):
    """Change of the close over `period` bars in percent; absent before. Equals TA-Lib's ROC and `ta`'s ROCIndicator."""

    __slots__ = ("at", "name", "period", "window")
    kind: ClassVar[str] = "roc"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.window: list[float] = []
        self.at = 0  # where the oldest close stands, once the window is full

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        window = self.window
        if len(window) < self.period:
            window.append(close)
            return
        at = self.at
        before = window[at]
        window[at] = close
        at += 1
        self.at = 0 if at == self.period else at
        # The difference first: it is exact for close prices, where close / before - 1 loses its digits.
        values[self.name] = (close - before) * 100.0 / before

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.window), self.at

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        window, self.at = snapshot
        self.window = list(window)
