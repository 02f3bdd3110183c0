"""Kaufman's adaptive moving average."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from operators.indicators.rolling import PastValue, RollingSum
from schemas.errors import BadInput
from schemas.records import Bar


class Kama(Indicator):
    """Exponential average of the close, in the price's unit, that adapts to the direction of the price.

    The efficiency ratio is the change of the close over `period` bars divided by the sum of its absolute changes: 1 for
    a steady trend, near 0 for noise, and 1 if no close has changed. With it, the weight of the newest close lies
    between (2 / (`slow` + 1))² and (2 / (`fast` + 1))². The seed is the close of bar `period`; the first value is at
    the next bar. Equals TA-Lib's KAMA with `fast` = 2 and `slow` = 30; `ta` starts with the close of bar `period` as a
    value. Source: P. Kaufman, Trading Systems and Methods (1998).
    """

    __slots__ = ("changes", "close", "name", "past_close", "slowest", "span", "value")
    kind: ClassVar[str] = "kama"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int, "fast": int, "slow": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int, fast: int, slow: int) -> None:
        check_period(name, period, 2)
        check_period(name, fast)
        if fast >= slow:
            raise BadInput(f"indicator {name}: the fast period must be below the slow period, found {fast} and {slow}")
        self.name = name
        self.slowest = 2.0 / (slow + 1)
        self.span = 2.0 / (fast + 1) - self.slowest
        self.past_close = PastValue(period)
        self.changes = RollingSum(period)
        self.close: float | None = None
        self.value: float | None = None

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        previous_close = self.close
        self.close = close
        past_close = self.past_close.push(close)
        if previous_close is None:
            return
        path = self.changes.push(abs(close - previous_close))
        if past_close is None or path is None:
            return
        distance = abs(close - past_close)
        efficiency = distance / path if path > distance else 1.0
        value = previous_close if self.value is None else self.value
        self.value = value = value + (close - value) * (efficiency * self.span + self.slowest) ** 2
        values[self.name] = value

    def rescale(self, factor: float) -> None:
        self.past_close.rescale(factor)
        self.changes.rescale(factor)
        if self.close is not None:
            self.close = new_share_price(self.close, factor)
        if self.value is not None:
            self.value *= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.past_close.snapshot(), self.changes.snapshot(), self.close, self.value

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        past_close, changes, self.close, self.value = snapshot
        self.past_close.restore(past_close)
        self.changes.restore(changes)
