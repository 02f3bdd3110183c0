"""Order imbalance."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit
from schemas.records import Bar, Quote


class OrderImbalance(Indicator):
    """Imbalance of the best quote's sizes up to the bar, -1 (only offers) to 1 (only bids).

    (bid size - ask size) / (bid size + ask size). `sma_20(order_imbalance)` is its average over bars. Absent before the
    first quote, and while both sizes are 0. Source: A. Cartea, S. Jaimungal, J. Penalva, Algorithmic and High-Frequency
    Trading (2015).
    """

    __slots__ = ("ask_size", "bid_size", "name")
    kind: ClassVar[str] = "order_imbalance"
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    reads_quotes: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.ask_size = 0.0
        self.bid_size = 0.0

    def update_quote(self, quote: Quote) -> None:
        self.ask_size = quote.ask_size
        self.bid_size = quote.bid_size

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        ask_size, bid_size = self.ask_size, self.bid_size
        total = bid_size + ask_size
        if total > 0.0:
            values[self.name] = (bid_size - ask_size) / total

    def rescale(self, factor: float) -> None:
        self.ask_size /= factor
        self.bid_size /= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.ask_size, self.bid_size

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.ask_size, self.bid_size = snapshot
