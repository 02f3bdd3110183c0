"""Ease of movement."""

from __future__ import annotations

from typing import ClassVar, Final

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import PastValue, RollingSum
from schemas.records import Bar

VOLUME_UNIT: Final = 1e8


class EaseOfMovement(ComposedIndicator):
    """Mean over `period` bars of the change of (high + low) / 2, times high - low, divided by the volume in 1e8 units.

    A bar without volume counts as 0. Absent before `period` + 1 bars. Equals `sma_ease_of_movement` of
    `ta.volume.EaseOfMovementIndicator` where each bar has volume. Source: R. Arms, Volume Cycles in the Stock Market
    (1994).
    """

    __slots__ = ("last_middle", "name", "period", "total")
    kind: ClassVar[str] = "ease_of_movement"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE_SQUARED_PER_VOLUME,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.last_middle = PastValue(1)
        self.total = RollingSum(period, price_power=3)  # price² / volume
        self.parts = (self.last_middle, self.total)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        middle = (bar.high + bar.low) / 2.0
        last_middle = self.last_middle.push(middle)
        if last_middle is None:
            return
        volume = bar.volume / VOLUME_UNIT
        total = self.total.push((middle - last_middle) * (bar.high - bar.low) / volume if volume else 0.0)
        if total is not None:
            values[self.name] = total / self.period
