"""Follow a trend defined by two moving averages, unless the symbol is overbought."""

from __future__ import annotations

from typing import Any

from operators.strategies.strategy import TargetView
from schemas.errors import BadInput
from schemas.records import FeatureRow

BELOW, ABOVE, LONG = 0, 1, 2


class EmaCross:
    """Long from the bar where the fast average crosses above the slow one until it is no longer above. Never short.

    The entry requires an RSI below `rsi_max` at the cross. Otherwise there is no entry in this trend. There is also no
    entry on the first row after warm-up, because a cross requires a previous row. The state is the position of the fast
    average at the previous row: BELOW (or equal to) the slow one, ABOVE without a position, or LONG; None in warm-up.
    """

    def __init__(
        self,
        *,
        fast: int = 12,
        slow: int = 26,
        rsi_period: int = 14,
        rsi_max: float = 70.0,
        name: str = "ema_cross",
    ) -> None:
        """Periods in bars, at least 2. `rsi_max` in (0, 100]. Raises BadInput otherwise, or if fast >= slow."""
        for label, period in (("fast", fast), ("slow", slow), ("rsi_period", rsi_period)):
            if type(period) is not int or period < 2:
                raise BadInput(f"strategy {name}: {label} must be a whole number of bars >= 2, found {period!r}")
        if fast >= slow:
            raise BadInput(f"strategy {name}: fast must be below slow, found {fast} and {slow}")
        if type(rsi_max) not in (int, float) or not 0 < rsi_max <= 100:
            raise BadInput(f"strategy {name}: rsi_max must be in (0, 100], found {rsi_max!r}")
        self.name = name
        self.rsi_max = rsi_max
        self.fast = f"ema_{fast}"
        self.slow = f"ema_{slow}"
        self.rsi = f"rsi_{rsi_period}"
        self.features = (self.fast, self.slow, self.rsi)

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
        values = row.values
        fast = values.get(self.fast)
        slow = values.get(self.slow)
        if fast is None or slow is None:
            return state, None
        if fast > slow:
            if state != BELOW:  # LONG, or ABOVE, or the first row after warm-up
                return state or ABOVE, None
            rsi = values.get(self.rsi)
            if rsi is None or rsi >= self.rsi_max:
                return ABOVE, None
            return LONG, TargetView(1, 1.0, 1.0, {self.fast: fast, self.slow: slow, self.rsi: rsi})
        if state == LONG:
            return BELOW, TargetView(0, 0.0, 1.0, {self.fast: fast, self.slow: slow})
        return BELOW, None
