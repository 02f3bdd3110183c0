"""Williams %R."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingMaximum
from schemas.records import Bar


class WilliamsR(ComposedIndicator):
    """Distance of the close from the highest high of the last `period` bars, in percent of the range: -100 to 0.

    Absent before `period` bars, and if the range is 0. Equals TA-Lib's WILLR, which returns 0 for a range of 0. Source:
    L. Williams, How I Made One Million Dollars Last Year Trading Commodities (1973).
    """

    __slots__ = ("highest", "lowest_negated", "name")
    kind: ClassVar[str] = "williams_r"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.highest = RollingMaximum(period)
        self.lowest_negated = RollingMaximum(period)
        self.parts = (self.highest, self.lowest_negated)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        highest = self.highest.push(bar.high)
        lowest = -self.lowest_negated.push(-bar.low)
        if self.highest.full and highest > lowest:
            values[self.name] = (bar.close - highest) * 100.0 / (highest - lowest)
