"""High, low and close of the last completed trading day."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from operators.indicators.indicator import new_share_price
from operators.indicators.rolling import RollingState
from schemas.records import CONTINUOUS, REGULAR, Bar

REGULAR_SESSIONS: Final = frozenset({REGULAR, CONTINUOUS})


class DayPrices(NamedTuple):
    """Prices of one day, in the price's unit."""

    high: float
    low: float
    close: float


class CompletedDay(RollingState):
    """The prices of the last trading day before the present one that has regular trades.

    Pre-market and post-market trades and bars without a trade do not count. In a continuous market, all trades do.
    """

    __slots__ = ("completed", "day", "present")

    def __init__(self) -> None:
        super().__init__(price_power=1)
        self.day = 0
        self.present: DayPrices | None = None
        self.completed: DayPrices | None = None

    def push(self, bar: Bar) -> DayPrices | None:
        """Add a bar. Return the prices of the last completed day; None on the first day."""
        if bar.trading_day != self.day:
            self.day = bar.trading_day
            self.completed = self.present or self.completed
            self.present = None
        if bar.traded and bar.session in REGULAR_SESSIONS:
            present = self.present
            if present is None:
                self.present = DayPrices(bar.high, bar.low, bar.close)
            else:
                self.present = DayPrices(max(present.high, bar.high), min(present.low, bar.low), bar.close)
        return self.completed

    def _multiply(self, factor: float) -> None:
        self.present, self.completed = _scaled(self.present, factor), _scaled(self.completed, factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.day, tuple(self.present or ()), tuple(self.completed or ())

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.day, present, completed = snapshot
        self.present = DayPrices(*present) if present else None
        self.completed = DayPrices(*completed) if completed else None


def _scaled(prices: DayPrices | None, factor: float) -> DayPrices | None:
    return None if prices is None else DayPrices(*[new_share_price(price, factor) for price in prices])
