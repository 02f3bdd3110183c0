"""Largest close of a window."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingMaximum
from schemas.records import Bar


class Max(ComposedIndicator):
    """Largest of the last `period` closes, in the price's unit; of the highs with `max_20@high`.

    Absent before `period` bars. Equals TA-Lib's MAX.
    """

    __slots__ = ("largest", "name")
    kind: ClassVar[str] = "max"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 1)
        self.name = name
        self.largest = RollingMaximum(period)
        self.parts = (self.largest,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        largest = self.largest.push(bar.close)
        if self.largest.full:
            values[self.name] = largest
