"""Exponentially weighted volatility of one symbol's bar returns."""

from __future__ import annotations

import math
from typing import Any


class EwmaVolatility:
    """Volatility per bar: the root of the weighted mean of squared close-to-close log returns. O(1) per bar.

    var = sum of w_i r_i^2 / sum of w_i with w_i = decay^age: the RiskMetrics estimate (J.P. Morgan, 1996) without its
    start value, so that the first bars count like all others. The mean return is assumed to be 0; for bars, it is much
    smaller than its estimation error. A gap over a closed market counts as the return of one bar.

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
        """Process the next bar. `close` must be above 0. `decay` in (0, 1) is the factor of the weights per bar."""
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
        """Volatility of one bar; 0.0 if the price has never moved. Requires at least one return."""
        return math.sqrt(self.weighted_square_sum / self.weight_sum)

    def as_tuple(self) -> tuple[float, int, float, float]:
        return (self.close, self.returns, self.weighted_square_sum, self.weight_sum)

    @classmethod
    def from_tuple(cls, state: Any) -> EwmaVolatility:
        volatility = cls()
        volatility.close, volatility.returns, volatility.weighted_square_sum, volatility.weight_sum = state
        return volatility


def decay_factor(half_life: int) -> float:
    """Return the factor of the weights per bar for a half-life of `half_life` bars."""
    return float(0.5 ** (1.0 / half_life))
