"""Pivot points."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.completed_day import CompletedDay
from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit
from schemas.records import Bar


class Pivots(ComposedIndicator):
    """Pivot point of the prior day with three levels of resistance and support, in the price's unit.

    With high H, low L and close C of the last completed day (as in `prior_day`): the pivot P = (H + L + C) / 3,
    r1 = 2 P - L, s1 = 2 P - H, r2 = P + (H - L), s2 = P - (H - L), r3 = H + 2 (P - L), s3 = L - 2 (H - P). Absent on
    the first day. Source: the floor traders' formulas; J. Person, A Complete Guide to Technical Trading Tactics (2004).
    """

    __slots__ = ("days", "names")
    kind: ClassVar[str] = "pivots"
    suffixes: ClassVar[tuple[str, ...]] = ("", "_r1", "_s1", "_r2", "_s2", "_r3", "_s3")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)

    def __init__(self, name: str) -> None:
        self.names = tuple(name + suffix for suffix in self.suffixes)
        self.days = CompletedDay()
        self.parts = (self.days,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        prior = self.days.push(bar)
        if prior is None:
            return
        high, low, close = prior
        pivot = (high + low + close) / 3.0
        day_range = high - low
        levels = (
            pivot,
            2.0 * pivot - low,
            2.0 * pivot - high,
            pivot + day_range,
            pivot - day_range,
            high + 2.0 * (pivot - low),
            low - 2.0 * (high - pivot),
        )
        values.update(zip(self.names, levels, strict=True))
