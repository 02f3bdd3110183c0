"""One symbol in the ledger."""

from __future__ import annotations

from decimal import Decimal

from operators.ledger.lots import LotBook
from operators.ledger.open_lot import OpenLot
from operators.money import ZERO


class LedgerPosition:
    """One symbol in the ledger, read-only for callers. `quantity` and `cost` are negative for a short position.

    `unit_value` is the value of one unit in account currency at a price of 1: multiplier times exchange rate.
    """

    __slots__ = ("book", "fees", "realized_pnl", "symbol", "unit_value")

    def __init__(self, symbol: str, unit_value: Decimal, book: LotBook) -> None:
        self.symbol = symbol
        self.unit_value = unit_value
        self.book = book
        self.realized_pnl = ZERO
        self.fees = ZERO

    @property
    def quantity(self) -> Decimal:
        return self.book.quantity

    @property
    def cost(self) -> Decimal:
        return self.book.cost

    @property
    def lots(self) -> list[OpenLot]:
        """The open lots, oldest first."""
        return list(self.book.open_lots())
