"""Corwin and Schultz's estimate of the bid-ask spread."""

from __future__ import annotations

from math import log, sqrt, tanh
from typing import Any, ClassVar, Final

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from operators.indicators.rolling import RollingSum
from schemas.records import Bar

CONSTANT: Final = 3.0 - 2.0 * sqrt(2.0)


class CorwinSchultz(Indicator):
    """Bid-ask spread as a fraction of the price: the mean of the last `period` estimates from highs and lows.

    Each estimate compares the ranges of two consecutive traded bars with the range of both together, because volatility
    grows with time and the spread does not. A gap between the first close and the second range is removed first, and a
    negative estimate counts as 0. Bars without a trade are skipped. The first value is at traded bar `period` + 1.
    Source: S. Corwin, P. Schultz, A Simple Way to Estimate Bid-Ask Spreads from Daily High and Low Prices (2012).
    """

    __slots__ = ("close", "estimates", "high", "low", "name", "period")
    kind: ClassVar[str] = "corwin_schultz"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period)
        self.name = name
        self.period = period
        self.high = 0.0  # of the previous traded bar; 0 before the first
        self.low = 0.0
        self.close = 0.0
        self.estimates = RollingSum(period, price_power=0)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        if not bar.traded:
            return
        if self.high:
            total = self.estimates.push(self._spread(bar))
            if total is not None:
                values[self.name] = total / self.period
        self.high, self.low, self.close = bar.high, bar.low, bar.close

    def _spread(self, bar: Bar) -> float:
        gap = max(bar.low - self.close, 0.0) + min(bar.high - self.close, 0.0)
        high, low = bar.high - gap, bar.low - gap
        beta = log(self.high / self.low) ** 2 + log(high / low) ** 2
        gamma = log(max(self.high, high) / min(self.low, low)) ** 2
        alpha = (sqrt(2.0 * beta) - sqrt(beta)) / CONSTANT - sqrt(gamma / CONSTANT)
        return max(2.0 * tanh(alpha / 2.0), 0.0)  # 2 (e^alpha - 1) / (e^alpha + 1)

    def rescale(self, factor: float) -> None:
        self.high = new_share_price(self.high, factor)
        self.low = new_share_price(self.low, factor)
        self.close = new_share_price(self.close, factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.high, self.low, self.close, self.estimates.snapshot()

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.high, self.low, self.close, estimates = snapshot
        self.estimates.restore(estimates)
