"""Average directional index."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from schemas.records import Bar


class Adx(Indicator):
    """Wilder's directional indicators +DI and -DI and their average directional index ADX, each 0 to 100.

    Directional movement and true range are running sums that decrease by 1/period at each bar. The first sum covers
    `period` - 1 bars, so +DI and -DI start at bar `period` + 1. DX = 100 |+DI - -DI| / (+DI + -DI). ADX is the mean of
    the first `period` DX values (at bar 2 `period`), and is then smoothed with 1/period. A bar without movement or
    range does not change it. Equals TA-Lib's ADX, PLUS_DI and MINUS_DI; `ta` uses another seed and returns 0 in
    warm-up. Source: J. W. Wilder, New Concepts in Technical Trading Systems (1978).
    """

    __slots__ = (
        "adx",
        "alpha",
        "bars_seen",
        "decay",
        "last_close",
        "last_high",
        "last_low",
        "minus_dm",
        "name",
        "name_minus",
        "name_plus",
        "period",
        "plus_dm",
        "range_sum",
    )  # fmt: skip
    kind: ClassVar[str] = "adx"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    suffixes: ClassVar[tuple[str, ...]] = ("_plus_di", "_minus_di", "")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.name_plus = f"{name}_plus_di"
        self.name_minus = f"{name}_minus_di"
        self.period = period
        self.alpha = 1.0 / period
        self.decay = 1.0 - self.alpha
        self.bars_seen = 0  # at most 2 * period
        self.last_high = 0.0
        self.last_low = 0.0
        self.last_close = 0.0
        self.plus_dm = 0.0
        self.minus_dm = 0.0
        self.range_sum = 0.0  # of true ranges
        self.adx = 0.0  # a sum while bars_seen < 2 * period

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        high = bar.high
        low = bar.low
        rise = high - self.last_high
        fall = self.last_low - low
        previous_close = self.last_close
        self.last_high = high
        self.last_low = low
        self.last_close = bar.close
        if previous_close > high:
            high = previous_close
        elif previous_close < low:
            low = previous_close
        if self.bars_seen < self.period:
            self._begin(rise, fall, high - low)
            return
        decay = self.decay
        plus_dm = self.plus_dm * decay
        minus_dm = self.minus_dm * decay
        if rise > fall:
            if rise > 0.0:
                plus_dm += rise
        elif fall > rise and fall > 0.0:
            minus_dm += fall
        self.plus_dm = plus_dm
        self.minus_dm = minus_dm
        self.range_sum = range_sum = self.range_sum * decay + (high - low)
        if range_sum > 1e-300:  # below this, a long unchanged price has rounded the sums to 0
            values[self.name_plus] = 100.0 * plus_dm / range_sum
            values[self.name_minus] = 100.0 * minus_dm / range_sum
        dm_sum = plus_dm + minus_dm
        if self.bars_seen < 2 * self.period:
            self.bars_seen += 1
            if dm_sum > 1e-300:
                self.adx += 100.0 * abs(plus_dm - minus_dm) / dm_sum
            if self.bars_seen < 2 * self.period:
                return
            self.adx /= self.period
        elif dm_sum > 1e-300:
            difference = plus_dm - minus_dm if plus_dm > minus_dm else minus_dm - plus_dm
            self.adx += (100.0 * difference / dm_sum - self.adx) * self.alpha
        values[self.name] = self.adx

    def _begin(self, rise: float, fall: float, true_range: float) -> None:
        if self.bars_seen:
            if rise > fall and rise > 0.0:
                self.plus_dm += rise
            elif fall > rise and fall > 0.0:
                self.minus_dm += fall
            self.range_sum += true_range
        self.bars_seen += 1

    def rescale(self, factor: float) -> None:
        self.last_high = new_share_price(self.last_high, factor)
        self.last_low = new_share_price(self.last_low, factor)
        self.last_close = new_share_price(self.last_close, factor)
        self.plus_dm *= factor
        self.minus_dm *= factor
        self.range_sum *= factor

    def snapshot(self) -> tuple[Any, ...]:
        return (
            self.bars_seen,
            self.last_high,
            self.last_low,
            self.last_close,
            self.plus_dm,
            self.minus_dm,
            self.range_sum,
            self.adx,
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        (
            self.bars_seen,
            self.last_high,
            self.last_low,
            self.last_close,
            self.plus_dm,
            self.minus_dm,
            self.range_sum,
            self.adx,
        ) = snapshot
