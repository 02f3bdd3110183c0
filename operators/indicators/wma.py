"""Linearly weighted moving average."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import LinearlyWeightedAverage
from schemas.records import Bar


class Wma(ComposedIndicator):
    """Mean of the last `period` closes with the weights 1 (oldest) to `period` (newest), in the price's unit.

    Absent before `period` bars. Equals TA-Lib's WMA and `ta.trend.WMAIndicator`.
    """

    __slots__ = ("average", "name")
    kind: ClassVar[str] = "wma"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.average = LinearlyWeightedAverage(period)
        self.parts = (self.average,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        average = self.average.push(bar.close)
        if average is not None:
            values[self.name] = average
