"""Rate of change."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from schemas.records import Bar


class Roc(Indicator):
    """Change of the close over `period` bars in percent, absent during warm-up. Equals TA-Lib's ROC and `ta`'s."""

    __slots__ = ("name", "oldest", "period", "window")
    kind: ClassVar[str] = "roc"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.window: list[float] = []
        self.oldest = 0  # index of the oldest close once the window is full

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        window = self.window
        if len(window) < self.period:
            window.append(close)
            return
        oldest = self.oldest
        dropped = window[oldest]
        window[oldest] = close
        oldest += 1
        self.oldest = 0 if oldest == self.period else oldest
        # Subtract first: the difference of similar prices is exact, while close / previous - 1 loses digits.
        if dropped:  # an input such as the volume can be 0
            values[self.name] = (close - dropped) * 100.0 / dropped

    def rescale(self, factor: float) -> None:
        self.window = [new_share_price(close, factor) for close in self.window]

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.window), self.oldest

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        window, self.oldest = snapshot
        self.window = list(window)
