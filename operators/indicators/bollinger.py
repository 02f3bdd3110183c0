"""Bollinger bands."""

from __future__ import annotations

from math import fsum, sqrt
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from schemas.errors import BadInput
from schemas.records import Bar


class Bollinger(Indicator):
    """Mean of the last `period` closes, plus and minus `width` population standard deviations, in the price's unit.

    Absent before `period` bars. Equals `ta.volatility.BollingerBands` and TA-Lib's BBANDS with a simple average.

    The sum of squared deviations is updated with the window (Welford's update for a replaced value), because
    E[x^2] - E[x]^2 loses all digits at a price of 1e5. It is recomputed once per window length, and when it has fallen
    so far below its peak that the peak's rounding error is significant.
    """

    __slots__ = (
        "mean",
        "name_lower",
        "name_middle",
        "name_upper",
        "oldest",
        "period",
        "square_sum",
        "square_sum_peak",
        "width",
        "window"
    )  # fmt: skip
    kind: ClassVar[str] = "bollinger"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int, "width": float}
    suffixes: ClassVar[tuple[str, ...]] = ("_upper", "_middle", "_lower")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int, width: float) -> None:
        check_period(name, period, 2)
        if width <= 0:
            raise BadInput(f"indicator {name}: width must be > 0 standard deviations, found {width}")
        self.name_upper = f"{name}_upper"
        self.name_middle = f"{name}_middle"
        self.name_lower = f"{name}_lower"
        self.period = period
        self.width = width
        self.window: list[float] = []
        self.oldest = 0  # index of the oldest close once the window is full
        self.mean = 0.0
        self.square_sum = 0.0  # sum of squared deviations from the mean
        self.square_sum_peak = 0.0  # highest square_sum since the last recomputation

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        window = self.window
        period = self.period
        if len(window) < period:
            window.append(close)
            if len(window) < period:
                return
            self._recompute()
            mean = self.mean
            square_sum = self.square_sum
        else:
            oldest = self.oldest
            dropped = window[oldest]
            window[oldest] = close
            change = close - dropped
            previous_mean = self.mean
            self.mean = mean = previous_mean + change / period
            self.square_sum = square_sum = self.square_sum + change * (close - mean + dropped - previous_mean)
            oldest += 1
            if oldest == period:
                oldest = 0
            self.oldest = oldest
            if oldest == 0 or square_sum < 1e-4 * self.square_sum_peak:
                self._recompute()
                mean = self.mean
                square_sum = self.square_sum
            elif square_sum > self.square_sum_peak:
                self.square_sum_peak = square_sum
        half_width = self.width * sqrt(square_sum / period)
        values[self.name_upper] = mean + half_width
        values[self.name_middle] = mean
        values[self.name_lower] = mean - half_width

    def _recompute(self) -> None:
        # Two passes: the mean first, then the deviations from it.
        mean = fsum(self.window) / self.period
        self.mean = mean
        self.square_sum = self.square_sum_peak = fsum([(close - mean) ** 2 for close in self.window])

    def rescale(self, factor: float) -> None:
        self.window = [new_share_price(close, factor) for close in self.window]
        if len(self.window) == self.period:
            self._recompute()

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(self.window), self.oldest, self.mean, self.square_sum, self.square_sum_peak

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        window, self.oldest, self.mean, self.square_sum, self.square_sum_peak = snapshot
        self.window = list(window)
