"""Ulcer index."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingMaximum, RollingSum
from schemas.records import Bar


class UlcerIndex(ComposedIndicator):
    """Root mean square, over the last `period` bars, of the fall below the highest of `period` closes, in percent.

    For the first `period` bars, the highest of the closes so far counts. Absent before `period` bars. Equals
    `ta.volatility.UlcerIndex`. Source: P. Martin and B. McCann, The Investor's Guide to Fidelity Funds (1989).
    """

    __slots__ = ("highest", "name", "period", "squares")
    kind: ClassVar[str] = "ulcer_index"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.highest = RollingMaximum(period)
        self.squares = RollingSum(period, price_power=0)
        self.parts = (self.highest, self.squares)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        highest = self.highest.push(bar.close)
        if highest <= 0.0:  # a price of 0 or below has no fall in percent
            self.squares.clear()
            return
        total = self.squares.push(((bar.close - highest) * 100.0 / highest) ** 2)
        if total is not None:
            values[self.name] = sqrt(total / self.period)
