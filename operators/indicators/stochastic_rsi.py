"""Stochastic RSI."""

from __future__ import annotations

from typing import ClassVar, Final

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingMaximum, RollingSum
from operators.indicators.rsi import Rsi
from schemas.records import Bar

RANGE_MIN: Final = 1e-9
"""A smaller range of the RSI, whose scale is 0 to 100, is the rounding error of an unchanged value."""


class StochasticRsi(ComposedIndicator):
    """Position of `rsi` in the range of its last `period` values, as a mean over `smooth_k` bars (k), and k's mean (d).

    Both are 0 to 100; d covers `smooth_d` bars. Absent in warm-up. Where the range is 0 or a rounding error (the price
    has not moved), the position is undefined and the means start again. With `smooth_k` = 1, k and d equal fastk and
    fastd of TA-Lib's STOCHRSI. Source: T. Chande and S. Kroll, The New Technical Trader (1994).
    """

    __slots__ = (
        "highest",
        "lowest_negated",
        "name_d",
        "name_k",
        "name_rsi",
        "positions",
        "recent_k",
        "rsi",
        "smooth_d",
        "smooth_k",
    )
    kind: ClassVar[str] = "stochastic_rsi"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {
        "rsi_period": int,
        "period": int,
        "smooth_k": int,
        "smooth_d": int,
    }
    suffixes: ClassVar[tuple[str, ...]] = ("_k", "_d")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, rsi_period: int, period: int, smooth_k: int, smooth_d: int) -> None:
        for one in (period, smooth_k, smooth_d):
            check_period(name, one)
        self.name_rsi = name
        self.name_k = f"{name}_k"
        self.name_d = f"{name}_d"
        self.smooth_k = smooth_k
        self.smooth_d = smooth_d
        self.rsi = Rsi(name, rsi_period)
        self.highest = RollingMaximum(period, price_power=0)
        self.lowest_negated = RollingMaximum(period, price_power=0)
        self.positions = RollingSum(smooth_k, price_power=0)
        self.recent_k = RollingSum(smooth_d, price_power=0)
        self.parts = (self.rsi, self.highest, self.lowest_negated, self.positions, self.recent_k)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        inner: dict[str, float] = {}
        self.rsi.update(bar, inner)
        rsi = inner.get(self.name_rsi)
        if rsi is None:
            for window in (self.highest, self.lowest_negated, self.positions, self.recent_k):
                window.clear()
            return
        highest = self.highest.push(rsi)
        lowest = -self.lowest_negated.push(-rsi)
        if not self.highest.full:
            return
        if highest - lowest < RANGE_MIN:
            self.positions.clear()
            self.recent_k.clear()
            return
        total = self.positions.push(100.0 * (rsi - lowest) / (highest - lowest))
        if total is None:
            return
        values[self.name_k] = k = total / self.smooth_k
        total = self.recent_k.push(k)
        if total is not None:
            values[self.name_d] = total / self.smooth_d
