"""True strength index."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import ExponentialAverage, PastValue
from schemas.records import Bar


class Tsi(ComposedIndicator):
    """Smoothed change of the close in percent of its smoothed absolute change, -100 to 100.

    Both are averaged exponentially over `slow` and then over `fast` bars. The seed of each average is its first input;
    the second starts with the first value of the first. Absent before `slow` + `fast` bars, and while the price has not
    moved. Equals `ta.momentum.TSIIndicator`. Source: W. Blau, Momentum, Direction, and Divergence (1995).
    """

    __slots__ = ("change", "change_twice", "distance", "distance_twice", "last_close", "name")
    kind: ClassVar[str] = "tsi"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"slow": int, "fast": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, slow: int, fast: int) -> None:
        check_period(name, slow)
        check_period(name, fast)
        self.name = name
        self.last_close = PastValue(1)
        self.change = ExponentialAverage(slow)
        self.change_twice = ExponentialAverage(fast)
        self.distance = ExponentialAverage(slow)
        self.distance_twice = ExponentialAverage(fast)
        self.parts = (self.last_close, self.change, self.change_twice, self.distance, self.distance_twice)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        last_close = self.last_close.push(bar.close)
        if last_close is None:
            return
        change = self.change.push(bar.close - last_close)
        distance = self.distance.push(abs(bar.close - last_close))
        if change is None or distance is None:
            return
        change = self.change_twice.push(change)
        distance = self.distance_twice.push(distance)
        if change is not None and distance is not None and distance > 1e-300:  # below: a long pause has rounded it to 0
            values[self.name] = 100.0 * change / distance
