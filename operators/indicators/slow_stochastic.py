"""Slow stochastic oscillator."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import RollingSum
from operators.indicators.stochastic import Stochastic
from schemas.records import Bar


class SlowStochastic(ComposedIndicator):
    """The mean of `stochastic`'s k over `smooth_k` bars (k), and k's mean over `smooth_d` bars (d), 0 to 100.

    Absent in warm-up; after a window without a range, where the stochastic is undefined, the means start again. Equals
    TA-Lib's STOCH with simple averages, which returns 0 for a range of 0. Source: G. Lane, Lane's Stochastics,
    Technical Analysis of Stocks & Commodities (1984).
    """

    __slots__ = ("fast", "name_d", "name_k", "recent_k", "smooth_d")
    kind: ClassVar[str] = "slow_stochastic"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int, "smooth_k": int, "smooth_d": int}
    suffixes: ClassVar[tuple[str, ...]] = ("_k", "_d")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int, smooth_k: int, smooth_d: int) -> None:
        check_period(name, smooth_d)
        self.name_k = f"{name}_k"
        self.name_d = f"{name}_d"
        self.fast = Stochastic(name, period, smooth_k)
        self.smooth_d = smooth_d
        self.recent_k = RollingSum(smooth_d, price_power=0)
        self.parts = (self.fast, self.recent_k)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        fast: dict[str, float] = {}
        self.fast.update(bar, fast)
        k = fast.get(self.name_d)
        if k is None:
            self.recent_k.clear()
            return
        values[self.name_k] = k
        total = self.recent_k.push(k)
        if total is not None:
            values[self.name_d] = total / self.smooth_d
