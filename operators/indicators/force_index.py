"""Force index."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import ExponentialAverage, PastValue
from schemas.records import Bar


class ForceIndex(ComposedIndicator):
    """Exponential average over `period` bars of the change of the close times the volume, in money.

    The seed of the average is its first input. Absent before `period` + 1 bars. Equals `ta.volume.ForceIndexIndicator`.
    Source: A. Elder, Trading for a Living (1993).
    """

    __slots__ = ("average", "last_close", "name")
    kind: ClassVar[str] = "force_index"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.TURNOVER,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.last_close = PastValue(1)
        self.average = ExponentialAverage(period, price_power=0)
        self.parts = (self.last_close, self.average)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        last_close = self.last_close.push(bar.close)
        if last_close is None:
            return
        average = self.average.push((bar.close - last_close) * bar.volume)
        if average is not None:
            values[self.name] = average
