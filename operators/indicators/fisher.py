"""Fisher transform."""

from __future__ import annotations

from math import atanh
from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period
from operators.indicators.rolling import RollingMaximum
from schemas.records import Bar


class Fisher(Indicator):
    """Ehlers' Fisher transform of the position of (high + low) / 2 in its range over `period` bars; the value before
    it.

    The position, from -1 to 1, is smoothed with a weight of 0.33 for the newest, limited to ±0.999, transformed with
    atanh, and added to half of the previous value. Both start at 0. `_signal` is the value of the bar before. Absent
    before `period` bars (the signal for one more), and if the range is 0, which leaves the state unchanged. Source: J.
    Ehlers, Using the Fisher Transform, Technical Analysis of Stocks & Commodities (2002).
    """

    __slots__ = ("highest", "lowest_negated", "name", "name_signal", "position", "value")
    kind: ClassVar[str] = "fisher"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    suffixes: ClassVar[tuple[str, ...]] = ("", "_signal")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.name_signal = f"{name}_signal"
        self.highest = RollingMaximum(period)
        self.lowest_negated = RollingMaximum(period)
        self.position = 0.0
        self.value: float | None = None

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        middle = (bar.high + bar.low) / 2.0
        highest = self.highest.push(middle)
        lowest = -self.lowest_negated.push(-middle)
        if not self.highest.full or highest == lowest:
            return
        position = 0.66 * ((middle - lowest) / (highest - lowest) - 0.5) + 0.67 * self.position
        if position > 0.99:
            position = 0.999
        elif position < -0.99:
            position = -0.999
        self.position = position
        previous = self.value
        self.value = values[self.name] = atanh(position) + 0.5 * (previous or 0.0)
        if previous is not None:
            values[self.name_signal] = previous

    def rescale(self, factor: float) -> None:
        self.highest.rescale(factor)
        self.lowest_negated.rescale(factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.highest.snapshot(), self.lowest_negated.snapshot(), self.position, self.value

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        highest, lowest_negated, self.position, self.value = snapshot
        self.highest.restore(highest)
        self.lowest_negated.restore(lowest_negated)
