"""Exponentially weighted volatility of one symbol's bar returns."""

from __future__ import annotations

import math
from typing import Any


class EwmaVolatility:
    """Root of the weighted mean of squared log returns from close to close, for one bar. O(1) whatever the history.

    var = sum of w_i r_i^2 / sum of w_i with w_i = decay^age: RiskMetrics' estimate (J.P. Morgan, 1996) without its
    start value, so that the first bars count like any other. The mean return is taken as 0, which over bars is much
    smaller than its error. The step over a closed market is one bar's return, as the holder bears it.

    >>> calm = EwmaVolatility()
    >>> for close in (100.0, 101.0, 100.0, 101.0):
    ...     calm.update(close, decay=0.5)
    >>> calm.returns, round(calm.per_bar, 6)
    (3, 0.00995)
    """

    __slots__ = ("close", "returns", "weight_sum", "weighted_square_sum")

    def __init__(self) -> None:
        self.close = 0.0
        self.returns = 0
        self.weighted_square_sum = 0.0
        self.weight_sum = 0.0

    def update(self, close: float, decay: float) -> None:
        """Fold the next bar in. `decay` in (0, 1): the weight that a return loses with each bar; `close` > 0."""
        previous_close = self.close
        self.close = close
        if not previous_close:
            return
        log_return = math.log(close / previous_close) if close != previous_close else 0.0
        self.weighted_square_sum = self.weighted_square_sum * decay + log_return * log_return
        self.weight_sum = self.weight_sum * decay + 1.0
        self.returns += 1

    @property
    def per_bar(self) -> float:
        """0.0 where the price never moved. Needs a return."""
        return math.sqrt(self.weighted_square_sum / self.weight_sum)

    def as_tuple(self) -> tuple[float, int, float, float]:
        return (self.close, self.returns, self.weighted_square_sum, self.weight_sum)

    @classmethod
    def from_tuple(cls, state: Any) -> EwmaVolatility:
        volatility = cls()
        volatility.close, volatility.returns, volatility.weighted_square_sum, volatility.weight_sum = state
        return volatility


def decay_factor(half_life: int) -> float:
    """The weight left after one bar, where `half_life` bars leave a half."""
    return float(0.5 ** (1.0 / half_life))
