"""Prices of the prior day."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.completed_day import CompletedDay
from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit
from schemas.records import Bar


class PriorDay(ComposedIndicator):
    """High, low and close of the last completed trading day, in the price's unit.

    Only trades of the regular session count (in a continuous market, all trades). Absent on the first day. From the
    first bar of a trading day on, including the pre-market, the values are those of the day before.
    """

    __slots__ = ("days", "name_close", "name_high", "name_low")
    kind: ClassVar[str] = "prior_day"
    suffixes: ClassVar[tuple[str, ...]] = ("_high", "_low", "_close")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)

    def __init__(self, name: str) -> None:
        self.name_high = f"{name}_high"
        self.name_low = f"{name}_low"
        self.name_close = f"{name}_close"
        self.days = CompletedDay()
        self.parts = (self.days,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        prior = self.days.push(bar)
        if prior is not None:
            values[self.name_high] = prior.high
            values[self.name_low] = prior.low
            values[self.name_close] = prior.close
