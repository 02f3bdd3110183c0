"""Chaikin money flow."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.money_flow import money_flow_volume
from operators.indicators.rolling import RollingSum
from schemas.records import Bar


class Cmf(ComposedIndicator):
    """Mean position of the close in its bar (+1 at the high, -1 at the low) over `period` bars, weighted by volume.

    A bar without a range counts with position 0. Absent before `period` bars, and if none of them has volume. Equals
    `ta.volume.ChaikinMoneyFlowIndicator`. Source: M. Chaikin.
    """

    __slots__ = ("flow", "name", "volume")
    kind: ClassVar[str] = "cmf"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.flow = RollingSum(period, price_power=-1)
        self.volume = RollingSum(period, price_power=-1)
        self.parts = (self.flow, self.volume)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        flow = self.flow.push(money_flow_volume(bar))
        volume = self.volume.push(bar.volume)
        if flow is not None and volume:
            values[self.name] = flow / volume
