"""Candles, and what counts as a long body, a short shadow, a doji: the definitions of TA-Lib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple


class Candle(NamedTuple):
    """Prices of one bar. It is white if it closes at or above its open, otherwise black."""

    open: float
    high: float
    low: float
    close: float

    @property
    def color(self) -> int:
        """1 for white, -1 for black."""
        return 1 if self.close >= self.open else -1

    @property
    def white(self) -> bool:
        return self.close >= self.open

    @property
    def black(self) -> bool:
        return self.close < self.open

    @property
    def body(self) -> float:
        return abs(self.close - self.open)

    @property
    def top(self) -> float:
        """Upper end of the body."""
        return max(self.open, self.close)

    @property
    def bottom(self) -> float:
        """Lower end of the body."""
        return min(self.open, self.close)

    @property
    def upper_shadow(self) -> float:
        return self.high - self.top

    @property
    def lower_shadow(self) -> float:
        return self.bottom - self.low

    def body_gaps_up_from(self, other: Candle) -> bool:
        return self.bottom > other.top

    def body_gaps_down_from(self, other: Candle) -> bool:
        return self.top < other.bottom

    def gaps_up_from(self, other: Candle) -> bool:
        """Whether no price of this candle is in the range of the other one."""
        return self.low > other.high

    def gaps_down_from(self, other: Candle) -> bool:
        return self.high < other.low


class Measure(NamedTuple):
    """A length to compare with: `factor` times the mean `length` of the `period` candles before; 0: of the candle."""

    length: Callable[[Candle], float]
    period: int
    factor: float


def _body(candle: Candle) -> float:
    return candle.body


def _range(candle: Candle) -> float:
    return candle.high - candle.low


def _mean_shadow(candle: Candle) -> float:
    return (candle.upper_shadow + candle.lower_shadow) / 2.0


BODY_LONG: Final = Measure(_body, 10, 1.0)
BODY_SHORT: Final = Measure(_body, 10, 1.0)
BODY_DOJI: Final = Measure(_range, 10, 0.1)
SHADOW_LONG: Final = Measure(_body, 0, 1.0)
SHADOW_VERY_LONG: Final = Measure(_body, 0, 2.0)
SHADOW_SHORT: Final = Measure(_mean_shadow, 10, 1.0)
SHADOW_VERY_SHORT: Final = Measure(_range, 10, 0.1)
NEAR: Final = Measure(_range, 5, 0.2)
FAR: Final = Measure(_range, 5, 0.6)
EQUAL: Final = Measure(_range, 5, 0.05)


class Candles:
    """The last candles, by age: 0 is the present one, 1 the one before."""

    __slots__ = ("_oldest_first",)

    def __init__(self, oldest_first: Sequence[Candle]) -> None:
        self._oldest_first = oldest_first

    def __getitem__(self, age: int) -> Candle:
        return self._oldest_first[-1 - age]

    def measure(self, measure: Measure, age: int = 0) -> float:
        """Return the length that the candle of this age is compared with."""
        length, period, factor = measure
        if not period:
            return factor * length(self[age])
        end = len(self._oldest_first) - 1 - age
        return factor * (sum([length(candle) for candle in self._oldest_first[end - period : end]]) / period)

    def long_body(self, age: int = 0) -> bool:
        return self[age].body > self.measure(BODY_LONG, age)

    def short_body(self, age: int = 0) -> bool:
        """Whether the body is at most as long as the mean."""
        return self[age].body <= self.measure(BODY_SHORT, age)

    def doji(self, age: int = 0) -> bool:
        return self[age].body <= self.measure(BODY_DOJI, age)

    def no_upper_shadow(self, age: int = 0) -> bool:
        return self[age].upper_shadow < self.measure(SHADOW_VERY_SHORT, age)

    def no_lower_shadow(self, age: int = 0) -> bool:
        return self[age].lower_shadow < self.measure(SHADOW_VERY_SHORT, age)

    def equal(self, price: float, other: float, age: int) -> bool:
        """Whether two prices are equal, compared with the ranges before the candle of this age."""
        distance = self.measure(EQUAL, age)
        return other - distance <= price <= other + distance
