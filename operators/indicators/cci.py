"""Commodity channel index."""

from __future__ import annotations

from math import fsum
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, check_period
from schemas.records import Bar


class Cci(Indicator):
    """How far the typical price (high + low + close) / 3 is from its mean of `period` bars, in 0.015 mean deviations.

    Absent before `period` bars and where all of them have one typical price. Equals TA-Lib's CCI and
    `ta.trend.CCIIndicator`. The mean deviation has no O(1) form: each bar passes over the window once.
    Source: D. Lambert, Commodities (1980).
    """

    __slots__ = ("at", "name", "period", "total", "window")
    kind: ClassVar[str] = "cci"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.period = period
        self.window: list[float] = []
        self.at = 0  # where the oldest price stands, once the window is full
        self.total = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        price = (bar.high + bar.low + bar.close) / 3.0
        window = self.window
        period = self.period
        if len(window) < period:
            window.append(price)
            if len(window) < period:
                return
            self.total = fsum(window)
        else:
            at = self.at
            self.total += price - window[at]
            window[at] = price
            at += 1
            if at == period:
                at = 0
                self.total = fsum(window)
            self.at = at
        mean = self.total / period
        deviation = 0.0
        for one in window:
            deviation += one - mean if one > mean else mean - one
        if deviation > 1e-13 * period * mean:  # less is the rounding of equal prices
            values[self.name] = (price - mean) * period / (0.015 * deviation)

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.window), self.at, self.total

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        window, self.at, self.total = snapshot
        self.window = list(window)
