"""Volume-weighted moving average."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingSum
from schemas.records import Bar


class Vwma(ComposedIndicator):
    """Mean of the last `period` closes, weighted by volume, in the price's unit.

    Absent before `period` bars, and if none of them has volume. Unlike `vwap`, it covers a fixed number of bars across
    sessions. Equals `ta.volume.VolumeWeightedAveragePrice` of closes.
    """

    __slots__ = ("name", "turnover", "volume")
    kind: ClassVar[str] = "vwma"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.turnover = RollingSum(period, price_power=0)
        self.volume = RollingSum(period, price_power=-1)
        self.parts = (self.turnover, self.volume)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        turnover = self.turnover.push(bar.close * bar.volume)
        volume = self.volume.push(bar.volume)
        if turnover is not None and volume:
            values[self.name] = turnover / volume
