"""Money flow index."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import PastValue, RollingSum
from schemas.records import Bar


class Mfi(ComposedIndicator):
    """Share of the money flow of the last `period` bars that came with a rising typical price, 0 to 100.

    The money flow of a bar is its typical price (high + low + close) / 3 times its volume. A bar whose typical price
    does not change counts in neither direction. Absent before `period` changes, and without any flow. Equals TA-Lib's
    MFI, which returns 0 without flow. Source: G. Quong and A. Soudack, Technical Analysis of Stocks & Commodities
    (1989).
    """

    __slots__ = ("last_price", "name", "negative", "positive")
    kind: ClassVar[str] = "mfi"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.last_price = PastValue(1)
        self.positive = RollingSum(period, price_power=0)
        self.negative = RollingSum(period, price_power=0)
        self.parts = (self.last_price, self.positive, self.negative)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        price = (bar.high + bar.low + bar.close) / 3.0
        last_price = self.last_price.push(price)
        if last_price is None:
            return
        flow = price * bar.volume
        positive = self.positive.push(flow if price > last_price else 0.0)
        negative = self.negative.push(flow if price < last_price else 0.0)
        if positive is not None and negative is not None and positive + negative > 0.0:
            values[self.name] = 100.0 * positive / (positive + negative)
