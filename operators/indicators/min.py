"""Smallest close of a window."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingMaximum
from schemas.records import Bar


class Min(ComposedIndicator):
    """Smallest of the last `period` closes, in the price's unit; of the lows with `min_20@low`.

    Absent before `period` bars. Equals TA-Lib's MIN.
    """

    __slots__ = ("largest_negated", "name")
    kind: ClassVar[str] = "min"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 1)
        self.name = name
        self.largest_negated = RollingMaximum(period)
        self.parts = (self.largest_negated,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        smallest = -self.largest_negated.push(-bar.close)
        if self.largest_negated.full:
            values[self.name] = smallest
