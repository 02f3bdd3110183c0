"""Average directional index."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, check_period
from schemas.records import Bar


class Adx(Indicator):
    """Wilder's directional indicators +DI and -DI and their average directional index ADX, each 0 to 100.

    Directional movement and true range are running sums that lose 1/period of themselves at each bar; the first is
    taken over `period` - 1 bars, so +DI and -DI stand at bar `period` + 1. DX = 100 |+DI - -DI| / (+DI + -DI);
    ADX is the mean of the first `period` DX (at bar 2 `period`), then moved by 1/period. A bar without movement or
    range leaves it as it was. Equals TA-Lib's ADX, PLUS_DI and MINUS_DI; `ta` seeds in another way and gives 0 in
    warm-up. Source: J. W. Wilder, New Concepts in Technical Trading Systems (1978).
    """

    __slots__ = (
        "close", "high", "index", "keep", "low", "minus", "name", "name_minus", "name_plus",
        "period", "plus", "reach", "seen", "share",
    )  # fmt: skip
    kind: ClassVar[str] = "adx"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    suffixes: ClassVar[tuple[str, ...]] = ("_plus_di", "_minus_di", "")

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.name_plus = f"{name}_plus_di"
        self.name_minus = f"{name}_minus_di"
        self.period = period
        self.share = 1.0 / period
        self.keep = 1.0 - self.share
        self.seen = 0  # bars, up to 2 * period
        self.high = 0.0
        self.low = 0.0
        self.close = 0.0
        self.plus = 0.0
        self.minus = 0.0
        self.reach = 0.0  # of true ranges
        self.index = 0.0  # a sum while seen < 2 * period

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        high = bar.high
        low = bar.low
        rise = high - self.high
        fall = self.low - low
        before = self.close
        self.high = high
        self.low = low
        self.close = bar.close
        if before > high:
            high = before
        elif before < low:
            low = before
        if self.seen < self.period:
            self._begin(rise, fall, high - low)
            return
        keep = self.keep
        plus = self.plus * keep
        minus = self.minus * keep
        if rise > fall:
            if rise > 0.0:
                plus += rise
        elif fall > rise and fall > 0.0:
            minus += fall
        self.plus = plus
        self.minus = minus
        self.reach = reach = self.reach * keep + (high - low)
        if reach > 1e-300:  # below it a long still price has rounded the sums away
            values[self.name_plus] = 100.0 * plus / reach
            values[self.name_minus] = 100.0 * minus / reach
        both = plus + minus
        if self.seen < 2 * self.period:
            self.seen += 1
            if both > 1e-300:
                self.index += 100.0 * abs(plus - minus) / both
            if self.seen < 2 * self.period:
                return
            self.index /= self.period
        elif both > 1e-300:
            difference = plus - minus if plus > minus else minus - plus
            self.index += (100.0 * difference / both - self.index) * self.share
        values[self.name] = self.index

    def _begin(self, rise: float, fall: float, reach: float) -> None:
        if self.seen:
            if rise > fall and rise > 0.0:
                self.plus += rise
            elif fall > rise and fall > 0.0:
                self.minus += fall
            self.reach += reach
        self.seen += 1

    def snapshot(self) -> tuple[Any, ...]:
        return self.seen, self.high, self.low, self.close, self.plus, self.minus, self.reach, self.index

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.seen, self.high, self.low, self.close, self.plus, self.minus, self.reach, self.index = snapshot
