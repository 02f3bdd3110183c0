"""Aroon."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingMaximum
from schemas.records import Bar


class Aroon(ComposedIndicator):
    """How recent the highest high (up) and the lowest low (down) of the last `period` + 1 bars are, 0 to 100.

    100 means that the present bar has the extreme, 0 that it is `period` bars old. Of equal extremes, the latest
    counts. The oscillator is up minus down. Absent before `period` + 1 bars. Equals TA-Lib's AROON and AROONOSC.
    Source: T. Chande, A Time Price Oscillator, Technical Analysis of Stocks & Commodities (1995).
    """

    __slots__ = ("highest", "lowest_negated", "name_down", "name_oscillator", "name_up", "period")
    kind: ClassVar[str] = "aroon"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    suffixes: ClassVar[tuple[str, ...]] = ("_up", "_down", "_oscillator")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name_up = f"{name}_up"
        self.name_down = f"{name}_down"
        self.name_oscillator = f"{name}_oscillator"
        self.period = period
        self.highest = RollingMaximum(period + 1)
        self.lowest_negated = RollingMaximum(period + 1)
        self.parts = (self.highest, self.lowest_negated)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        highest = self.highest
        lowest_negated = self.lowest_negated
        highest.push(bar.high)
        lowest_negated.push(-bar.low)
        if highest.full:
            period = self.period
            values[self.name_up] = 100.0 * (period - highest.age) / period
            values[self.name_down] = 100.0 * (period - lowest_negated.age) / period
            values[self.name_oscillator] = 100.0 * (lowest_negated.age - highest.age) / period
