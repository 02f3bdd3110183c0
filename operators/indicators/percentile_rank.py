"""Percentile rank of the close."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from schemas.records import Bar


class PercentileRank(Indicator):
    """Rank of the close among the last `period` closes in percent: 100 for the highest, 100 / `period` for the lowest.

    The present close is one of them. Equal closes share their mean rank. Absent before `period` bars. Equals pandas'
    rolling `rank(pct=True)` times 100. The sorted window finds the rank in O(log period).
    """

    __slots__ = ("name", "oldest", "period", "sorted_window", "window")
    kind: ClassVar[str] = "percentile_rank"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.period = period
        self.window: list[float] = []
        self.oldest = 0  # index of the oldest close once the window is full
        self.sorted_window: list[float] = []

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        window, sorted_window = self.window, self.sorted_window
        if len(window) < self.period:
            window.append(close)
        else:
            oldest = self.oldest
            del sorted_window[bisect_left(sorted_window, window[oldest])]
            window[oldest] = close
            oldest += 1
            self.oldest = 0 if oldest == self.period else oldest
        insort(sorted_window, close)
        if len(window) == self.period:
            # Equal closes have the ranks below + 1 to not_above.
            below, not_above = bisect_left(sorted_window, close), bisect_right(sorted_window, close)
            values[self.name] = (below + 1 + not_above) * 50.0 / self.period

    def rescale(self, factor: float) -> None:
        self.window = [new_share_price(close, factor) for close in self.window]
        self.sorted_window = sorted(self.window)

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.window), self.oldest

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        window, self.oldest = snapshot
        self.window = list(window)
        self.sorted_window = sorted(window)
