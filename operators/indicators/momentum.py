"""Momentum."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import PastValue
from schemas.records import Bar


class Momentum(ComposedIndicator):
    """Close minus the close `period` bars before, in the price's unit. Absent in warm-up. Equals TA-Lib's MOM."""

    __slots__ = ("name", "past_close")
    kind: ClassVar[str] = "momentum"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE_CHANGE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.past_close = PastValue(period)
        self.parts = (self.past_close,)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        past_close = self.past_close.push(bar.close)
        if past_close is not None:
            values[self.name] = bar.close - past_close
