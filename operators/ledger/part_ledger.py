"""The books of a part of an account, such as the sub-account of a strategy."""

from __future__ import annotations

from decimal import Decimal

from operators.ledger.account import Ledger, LedgerRecord
from operators.ledger.ledger_records import BookingOrigin
from operators.money import ZERO, divide, quantize
from schemas.records import InternalCross


class PartLedger(Ledger):
    """A ledger whose quantities sum with those of the other parts to the account.

    A rounding remainder therefore stays open. If a trade of the account closes its remainder, the caller books that
    difference in one of the parts (`book_difference`).
    """

    _retain_remainder = True

    def book_cross(self, cross: InternalCross, quantity: Decimal) -> list[LedgerRecord]:
        """Book one side of a trade between two parts, `quantity` in signed units, without a fee.

        The caller books each cross once: it is not an execution, and its `seq` is that of another topic.
        """
        position, price = self._open_position(cross.symbol), quantize(cross.price)
        origin = BookingOrigin(cross.cross_id, cross.ts_ns, cross.ts_ns, cross.cross_id)
        return self._book_trade(position, quantize(quantity), price, ZERO, origin)

    def book_difference(self, ts_ns: int, symbol: str, cause_id: str, quantity: Decimal, paid: Decimal) -> None:
        """Book signed units by which the account differs from its parts, and the money that the account paid for them.

        `paid` is signed like the quantity: negative for the sale of a fraction, 0 for rounding.
        """
        position = self._open_position(symbol)
        price = divide(divide(paid, quantity), position.unit_value)
        origin = BookingOrigin(cause_id, ts_ns, ts_ns, cause_id)
        self._book_trade(position, quantity, price, ZERO, origin, paid=quantize(paid))
