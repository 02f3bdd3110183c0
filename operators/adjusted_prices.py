"""Last prices that a corporate action adjusted, until the symbol trades again.

A bar without a trade repeats the close of the last trade. After a split or an ex-date, that close refers to the shares
before the action. Until the first trade after the action, such a bar therefore has the adjusted price.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from operators.ledger import split_ratio
from operators.money import to_decimal
from schemas.records import Bar, Record

VERSION = 1


def split_price(price: float, ratio: Decimal) -> float:
    """Return the price of a new share after a split into `ratio` new shares per old share.

    >>> split_price(100.0, Decimal(4))
    25.0
    """
    return float(split_ratio.split_price(to_decimal(price), ratio))


def ex_price(price: float, amount: Decimal) -> float:
    """Return the price after a payment of `amount` per share, in the same currency. It stays above 0.

    >>> ex_price(100.0, Decimal(10)), ex_price(5.0, Decimal(5))
    (90.0, 5.0)
    """
    after = to_decimal(price) - amount
    return float(after) if after > 0 else price


class AdjustedPrices:
    """The adjusted price of each symbol that has not traded since its last corporate action."""

    __slots__ = ("prices",)

    def __init__(self) -> None:
        self.prices: dict[str, float] = {}

    def adjust_bars(self, records: Sequence[Record]) -> list[Record]:
        """Return the records of a time slice, with bars without a trade at the adjusted price. A trade ends it.

        Call only if there are `prices`, which is so in nearly no time slice.
        """
        prices = self.prices
        return [
            self._adjust(record) if type(record) is Bar and record.symbol in prices else record for record in records
        ]

    def _adjust(self, bar: Bar) -> Bar:
        if bar.traded:
            del self.prices[bar.symbol]
            return bar
        price = self.prices[bar.symbol]
        return bar._replace(open=price, high=price, low=price, close=price)

    def snapshot(self) -> Any:
        return (VERSION, dict(self.prices))

    def restore(self, snapshot: Any) -> None:
        version, prices = snapshot
        assert version == VERSION, f"adjusted prices snapshot: version {version}, expected {VERSION}"
        self.prices = dict(prices)
