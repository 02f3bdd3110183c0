"""Hull moving average."""

from __future__ import annotations

from math import isqrt
from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import LinearlyWeightedAverage
from schemas.records import Bar


class Hma(ComposedIndicator):
    """Weighted average over √`period` bars of 2 wma(`period` / 2) - wma(`period`), in the price's unit.

    The weights of each average are linear (see `wma`). Both shorter periods are rounded down. Absent before `period` +
    √`period` - 1 bars. Equals that formula with TA-Lib's WMA. Source: A. Hull, Hull Moving Average (2005).
    """

    __slots__ = ("half", "name", "smoothed", "whole")
    kind: ClassVar[str] = "hma"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.half = LinearlyWeightedAverage(period // 2)
        self.whole = LinearlyWeightedAverage(period)
        self.smoothed = LinearlyWeightedAverage(isqrt(period))
        self.parts = (self.half, self.whole, self.smoothed)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        half = self.half.push(bar.close)
        whole = self.whole.push(bar.close)
        if half is None or whole is None:
            return
        average = self.smoothed.push(2.0 * half - whole)
        if average is not None:
            values[self.name] = average
