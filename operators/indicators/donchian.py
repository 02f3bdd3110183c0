"""Donchian channel."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingMaximum
from schemas.records import Bar


class Donchian(ComposedIndicator):
    """Highest high and lowest low of the last `period` bars, and the middle between them, in the price's unit.

    The window includes the present bar, so no close is outside the channel; a breakout strategy compares the close with
    the channel of the bar before. Absent before `period` bars. Equals `ta.volatility.DonchianChannel`. Source: R.
    Donchian; C. Faith, Way of the Turtle (2007).
    """

    __slots__ = ("highest", "lowest_negated", "name_lower", "name_middle", "name_upper")
    kind: ClassVar[str] = "donchian"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    suffixes: ClassVar[tuple[str, ...]] = ("_upper", "_middle", "_lower")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name_upper = f"{name}_upper"
        self.name_middle = f"{name}_middle"
        self.name_lower = f"{name}_lower"
        self.highest = RollingMaximum(period)
        self.lowest_negated = RollingMaximum(period)
        self.parts = (self.highest, self.lowest_negated)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        highest = self.highest.push(bar.high)
        lowest = -self.lowest_negated.push(-bar.low)
        if self.highest.full:
            values[self.name_upper] = highest
            values[self.name_middle] = (highest + lowest) / 2.0
            values[self.name_lower] = lowest
