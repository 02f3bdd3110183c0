"""Realized volatility of closes."""

from __future__ import annotations

from math import log, sqrt
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from operators.indicators.rolling_moments import RollingMoments
from schemas.records import Bar


class RealizedVolatility(Indicator):
    """Sample standard deviation of the last `period` log returns from close to close, per bar, as a fraction.

    Times the square root of the bars of a year it is annualized. The first value is at bar `period` + 1. A close of 0
    or below (of another input) is skipped. Equals TTR's `volatility(calc = "close")` with N = 1.
    """

    __slots__ = ("close", "name", "period", "returns")
    kind: ClassVar[str] = "realized_volatility"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.period = period
        self.close = 0.0  # the previous one; 0 before the first bar
        self.returns = RollingMoments(period, price_power=0)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        if close <= 0.0:
            return
        previous_close, self.close = self.close, close
        if previous_close and self.returns.push(log(close / previous_close)):
            values[self.name] = sqrt(self.returns.square_sum / (self.period - 1))

    def rescale(self, factor: float) -> None:
        self.close = new_share_price(self.close, factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.close, self.returns.snapshot()

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.close, returns = snapshot
        self.returns.restore(returns)
