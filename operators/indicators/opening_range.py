"""Opening range."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.completed_day import REGULAR_SESSIONS
from operators.indicators.indicator import Indicator, ValueUnit, new_share_price
from schemas.errors import BadInput
from schemas.records import Bar

MINUTE_NS = 60_000_000_000


class OpeningRange(Indicator):
    """High and low of the first `minutes` of the regular session, in the price's unit.

    The session starts with the first regular bar of the trading day, with or without a trade (in a continuous market,
    with the first bar of the day). The values are absent until the range is complete, and then stay until the trading
    day ends. Bars without a trade, and a bar that ends after the range, do not count. Absent if the range has no trade.
    Source: T. Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout (1990).
    """

    __slots__ = ("day", "end_ns", "high", "length_ns", "low", "name_high", "name_low")
    kind: ClassVar[str] = "opening_range"
    parameters: ClassVar[dict[str, type[int] | type[float]]] = {"minutes": int}
    suffixes: ClassVar[tuple[str, ...]] = ("_high", "_low")
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.PRICE,)

    def __init__(self, name: str, minutes: int) -> None:
        if minutes < 1:
            raise BadInput(f"indicator {name}: the opening range must be at least 1 minute, found {minutes}")
        self.name_high = f"{name}_high"
        self.name_low = f"{name}_low"
        self.length_ns = minutes * MINUTE_NS
        self.day = 0
        self.end_ns = 0  # of the range; 0 before the session
        self.high = 0.0  # 0 before the first trade
        self.low = 0.0

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        if bar.trading_day != self.day:
            self.day = bar.trading_day
            self.end_ns = 0
            self.high = self.low = 0.0
        if not self.end_ns:
            if bar.session not in REGULAR_SESSIONS:
                return
            self.end_ns = bar.open_ns + self.length_ns
        if bar.ts_ns <= self.end_ns and bar.traded and bar.session in REGULAR_SESSIONS:
            self.low = min(self.low, bar.low) if self.high else bar.low
            self.high = max(self.high, bar.high)
        if bar.ts_ns >= self.end_ns and self.high:
            values[self.name_high] = self.high
            values[self.name_low] = self.low

    def rescale(self, factor: float) -> None:
        self.high = new_share_price(self.high, factor)
        self.low = new_share_price(self.low, factor)

    def snapshot(self) -> tuple[Any, ...]:
        return self.day, self.end_ns, self.high, self.low

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.day, self.end_ns, self.high, self.low = snapshot
