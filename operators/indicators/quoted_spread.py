"""Quoted bid-ask spread."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.indicators.indicator import Indicator, ValueUnit
from schemas.records import Bar, Quote


class QuotedSpread(Indicator):
    """Ask minus bid of the last quote up to the bar, as a fraction of the middle between them.

    `sma_20(quoted_spread)` is its average over bars. Absent before the first quote, and while one side has no price.
    """

    __slots__ = ("ask", "bid", "name")
    kind: ClassVar[str] = "quoted_spread"
    units: ClassVar[tuple[ValueUnit, ...]] = (ValueUnit.RATIO,)
    reads_quotes: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.ask = 0.0
        self.bid = 0.0

    def update_quote(self, quote: Quote) -> None:
        self.ask = quote.ask
        self.bid = quote.bid

    def update(self, bar: Bar, values: dict[str, float]) -> None:
        ask, bid = self.ask, self.bid
        if bid > 0.0 and ask > 0.0:
            values[self.name] = (ask - bid) / ((ask + bid) / 2.0)

    def rescale(self, factor: float) -> None:
        self.ask *= factor
        self.bid *= factor

    def snapshot(self) -> tuple[Any, ...]:
        return self.ask, self.bid

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.ask, self.bid = snapshot
