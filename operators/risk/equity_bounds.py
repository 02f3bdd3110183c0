"""Bounds of the equity between which no circuit breaker of the equity can trip, in floats for speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from operators.risk.book import RiskBook
from operators.risk.breakers import DAILY_LOSS, DAY_FALL, DRAWDOWN, Breaker

_TOLERANCE_ABSOLUTE, _TOLERANCE_RELATIVE = 0.05, 1e-8
"""Safety margin, larger than the rounding of `net_value` to the cent, of the measures to nine places, and of floats."""


class EquityBounds:
    """The lower bound is the equity at which the nearest breaker trips; the upper bound is the peak of the equity.

    The bounds are computed again only after a change of the cash, the peak or the start of the day, which is rare.
    """

    def __init__(self, breakers: Sequence[Breaker]) -> None:
        self._thresholds = [(breaker.measure, float(breaker.threshold)) for breaker in breakers]
        self._inputs: tuple[Decimal | None, ...] = (None,) * 5  # as in `contain`
        self._floats = [math.nan] * 5
        self._cash = self._low = self._high = math.nan

    def contain(self, book: RiskBook, net: float, peak: Decimal) -> bool:
        """Whether the equity is certainly between the bounds. `net` is the value of all positions."""
        inputs = (book.cash, book.accrued, book.day_start_equity, book.day_start_base, peak)
        if inputs != self._inputs:
            # Usually only the cash has changed. A conversion takes about as long as the rest of an update.
            for index, (value, previous) in enumerate(zip(inputs, self._inputs, strict=True)):
                if value is not previous:
                    self._floats[index] = float(value)
            self._inputs = inputs
            self._update(*self._floats)
        return self._low < self._cash + net < self._high

    def _update(self, cash: float, accrued: float, day_start: float, day_base: float, peak: float) -> None:
        self._cash = cash + accrued
        levels = [-math.inf]
        for measure, threshold in self._thresholds:
            if measure == DAILY_LOSS:
                levels.append(day_start - threshold)
            elif measure == DAY_FALL and day_base > 0.0:
                levels.append(day_base * (1.0 - threshold))
            elif measure == DRAWDOWN and peak > 0.0:
                levels.append(peak * (1.0 - threshold))
        sizes = abs(cash) + abs(accrued) + abs(day_start) + abs(day_base) + abs(peak)
        tolerance = _TOLERANCE_ABSOLUTE + _TOLERANCE_RELATIVE * sizes
        self._low, self._high = max(levels) + tolerance, peak - tolerance
