"""Detrended price oscillator."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import PastValue, RollingSum
from schemas.records import Bar


class Dpo(ComposedIndicator):
    """Close of `period` / 2 + 1 bars before (rounded down) minus the mean of the last `period` closes, in the price's
    unit.

    The mean is centred on the past close, so the difference shows cycles without the trend. No later bar is used.
    Absent until both numbers exist. Equals `ta.trend.DPOIndicator`, which returns a value in the warm-up too.
    """

    __slots__ = ("name", "past_close", "period", "total")
    kind: ClassVar[str] = "dpo"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE_CHANGE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.past_close = PastValue(period // 2 + 1)
        self.total = RollingSum(period)
        self.parts = (self.past_close, self.total)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        past_close = self.past_close.push(bar.close)
        total = self.total.push(bar.close)
        if past_close is not None and total is not None:
            values[self.name] = past_close - total / self.period
