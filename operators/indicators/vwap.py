"""Volume-weighted average price of the session."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit
from schemas.records import Bar


class Vwap(Indicator):
    """Average of the typical price (high + low + close) / 3 since the start of the session, weighted by volume.

    A session is one `session` of one `trading_day`: pre-market, regular and post-market hours are separate sessions.
    Absent until the first volume of the session. `ta`'s VWAP differs: it is a moving window across sessions.
    """

    __slots__ = ("day", "name", "notional", "session", "volume")
    kind: ClassVar[str] = "vwap"
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)

    def __init__(self, name: str) -> None:
        self.name = name
        self.day = 0
        self.session = ""
        self.notional = 0.0
        self.volume = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        day = bar.trading_day
        if day != self.day or bar.session != self.session:
            self.day = day
            self.session = bar.session
            self.notional = 0.0
            self.volume = 0.0
        bar_volume = bar.volume
        self.notional += (bar.high + bar.low + bar.close) / 3.0 * bar_volume
        self.volume = volume = self.volume + bar_volume
        if volume:
            values[self.name] = self.notional / volume

    def rescale(self, factor: float) -> None:
        self.volume /= factor  # the notional is money and does not change

    def snapshot(self) -> tuple[Any, ...]:
        return self.day, self.session, self.notional, self.volume

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.day, self.session, self.notional, self.volume = snapshot
