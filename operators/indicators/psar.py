"""Parabolic stop and reverse."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, new_share_price
from schemas.errors import BadInput
from schemas.records import Bar


class Psar(Indicator):
    """Wilder's parabolic stop and reverse, in the price's unit, and the direction: 1 is up (stop below), -1 is down.

    The stop moves to the extreme price of the trend by a fraction of their distance. The fraction starts at `step` and
    grows by `step` with each new extreme, up to `maximum`. The stop never enters the range of the last two bars. When a
    bar reaches the stop, the trend reverses and the stop moves to the extreme. The trend of bar 2 is down if its low
    falls by more than its high rises, else up; the first stop is the extreme of bar 1. Absent before 2 bars. Equals
    TA-Lib's SAR. Source: J. W. Wilder, New Concepts in Technical Trading Systems (1978).
    """

    __slots__ = (
        "direction",
        "extreme",
        "fraction",
        "last_high",
        "last_low",
        "maximum",
        "name",
        "name_direction",
        "step",
        "stop",
    )  # fmt: skip
    kind: ClassVar[str] = "psar"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"step": float, "maximum": float}
    suffixes: ClassVar[tuple[str, ...]] = ("", "_direction")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE, ValueUnit.RATIO)

    def __init__(self, name: str, step: float, maximum: float) -> None:
        if not 0.0 < step <= maximum <= 1.0:
            raise BadInput(
                f"indicator {name}: 0 < step <= maximum <= 1 is required, found step {step:g} and maximum {maximum:g}"
            )
        self.name = name
        self.name_direction = f"{name}_direction"
        self.step = step
        self.maximum = maximum
        self.direction: int | None = None  # None before the first bar, 0 before the second
        self.fraction = step
        self.stop = 0.0  # of the next bar
        self.extreme = 0.0
        self.last_high = 0.0
        self.last_low = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        high = bar.high
        low = bar.low
        if self.direction is None:
            self.direction = 0
            self.last_high = high
            self.last_low = low
            return
        if self.direction == 0:
            self._begin(high, low)
        rising = self.direction > 0
        if (low <= self.stop) if rising else (high >= self.stop):
            rising = not rising
            self.direction = 1 if rising else -1
            self.stop = self._outside(rising, self.extreme, high, low)
            self.fraction = self.step
            self.extreme = high if rising else low
        elif (high > self.extreme) if rising else (low < self.extreme):
            self.extreme = high if rising else low
            self.fraction = min(self.fraction + self.step, self.maximum)
        values[self.name] = self.stop
        values[self.name_direction] = float(self.direction)
        self.stop = self._outside(rising, self.stop + self.fraction * (self.extreme - self.stop), high, low)
        self.last_high = high
        self.last_low = low

    def _begin(self, high: float, low: float) -> None:
        fall = self.last_low - low
        if fall > 0.0 and fall > high - self.last_high:
            self.direction, self.stop, self.extreme = -1, self.last_high, low
        else:
            self.direction, self.stop, self.extreme = 1, self.last_low, high
        # The range of bar 1 does not limit the stop of bar 3.
        self.last_high = high
        self.last_low = low

    def _outside(self, rising: bool, stop: float, high: float, low: float) -> float:
        """Move a stop out of the range of the previous and this bar."""
        return min(stop, self.last_low, low) if rising else max(stop, self.last_high, high)

    def rescale(self, factor: float) -> None:
        self.stop = new_share_price(self.stop, factor)
        self.extreme = new_share_price(self.extreme, factor)
        self.last_high = new_share_price(self.last_high, factor)
        self.last_low = new_share_price(self.last_low, factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.direction, self.fraction, self.stop, self.extreme, self.last_high, self.last_low

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.direction, self.fraction, self.stop, self.extreme, self.last_high, self.last_low = snapshot
