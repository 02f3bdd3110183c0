"""Relative strength index."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit, check_period, new_share_price
from schemas.records import Bar


class Rsi(Indicator):
    """Wilder's relative strength index of the closes, 0 to 100: 100 * gain / (gain + loss).

    `gain` and `loss` are averages of the rises and falls from close to close: the mean of the first `period` changes,
    then smoothed with 1/period. Absent before `period` changes, and while the price has never moved. Equals TA-Lib's
    RSI; `ta` uses 0 as the seed of both averages. Source: J. W. Wilder, New Concepts in Technical Trading Systems
    (1978).
    """

    __slots__ = ("alpha", "changes_seen", "close", "decay", "gain", "loss", "name", "period")
    kind: ClassVar[str] = "rsi"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"period": int}
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    accepts_input: ClassVar[bool] = True

    def __init__(self, name: str, period: int) -> None:
        check_period(name, period, 2)
        self.name = name
        self.period = period
        self.alpha = 1.0 / period
        self.decay = 1.0 - self.alpha
        self.changes_seen = -1  # at most period
        self.close = 0.0
        # Sums while changes_seen < period, then averages.
        self.gain = 0.0
        self.loss = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        close = bar.close
        change = close - self.close
        self.close = close
        if self.changes_seen < self.period:
            if not self._warm_up(change):
                return
            gain = self.gain
            loss = self.loss
        elif change > 0.0:
            self.gain = gain = self.gain * self.decay + change * self.alpha
            self.loss = loss = self.loss * self.decay
        else:
            self.gain = gain = self.gain * self.decay
            self.loss = loss = self.loss * self.decay - change * self.alpha
        total = gain + loss
        if total > 1e-300:  # below this, a long unchanged price has rounded the averages to 0
            values[self.name] = 100.0 * gain / total

    def _warm_up(self, change: float) -> bool:
        if self.changes_seen >= 0:
            if change > 0.0:
                self.gain += change
            else:
                self.loss -= change
        self.changes_seen += 1
        if self.changes_seen < self.period:
            return False
        self.gain /= self.period
        self.loss /= self.period
        return True

    def rescale(self, factor: float) -> None:
        self.close = new_share_price(self.close, factor)
        self.gain *= factor
        self.loss *= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.changes_seen, self.close, self.gain, self.loss

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.changes_seen, self.close, self.gain, self.loss = snapshot
