"""Ultimate oscillator."""

from __future__ import annotations

from typing import ClassVar

from operators.indicators.composed import ComposedIndicator
from operators.indicators.indicator import ValueUnit, check_period
from operators.indicators.rolling import PastValue, RollingSum
from schemas.errors import BadInput
from schemas.records import Bar


class UltimateOscillator(ComposedIndicator):
    """Buying pressure in percent of the true range over three periods, with the weights 4, 2 and 1: 0 to 100.

    The buying pressure of a bar is its close minus the lower of its low and the previous close. The true range is that
    of `atr`. Absent before `long` + 1 bars, and if the shortest period has no range. Equals TA-Lib's ULTOSC, which
    omits a period without a range. Source: L. Williams, The Ultimate Oscillator, Technical Analysis of Stocks &
    Commodities (1985).
    """

    __slots__ = ("last_close", "name", "pressures", "ranges")
    kind: ClassVar[str] = "ultimate_oscillator"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"short": int, "medium": int, "long": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, short: int, medium: int, long: int) -> None:
        check_period(name, short)
        if not short < medium < long:
            raise BadInput(
                f"indicator {name}: the periods must increase from short to long, found {short}, {medium} and {long}"
            )
        self.name = name
        self.last_close = PastValue(1)
        self.pressures = tuple([RollingSum(period) for period in (short, medium, long)])
        self.ranges = tuple([RollingSum(period) for period in (short, medium, long)])
        self.parts = (self.last_close, *self.pressures, *self.ranges)

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        last_close = self.last_close.push(bar.close)
        if last_close is None:
            return
        low = min(bar.low, last_close)
        pressures = [total.push(bar.close - low) for total in self.pressures]
        ranges = [total.push(max(bar.high, last_close) - low) for total in self.ranges]
        oscillator = 0.0
        for weight, pressure, true_range in zip((4.0, 2.0, 1.0), pressures, ranges, strict=True):
            if pressure is None or not true_range:
                return
            oscillator += weight * pressure / true_range
        values[self.name] = 100.0 * oscillator / 7.0
