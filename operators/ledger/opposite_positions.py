"""At a symbol change, close a long position in one symbol against a short position in the other."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.ledger.lots import ClosedLot
from operators.ledger.position import LedgerPosition
from operators.money import ZERO, divide, portion
from schemas.records import LONG, SHORT, LotDirection


class OppositeClose(NamedTuple):
    """Units of one lot that are closed. `price` is the exit price in the currency of the symbol."""

    position: LedgerPosition
    closed_lot: ClosedLot
    price: Decimal
    direction: LotDirection


def close_opposite(old: LedgerPosition, new: LedgerPosition) -> list[OppositeClose]:
    """Close the units that are long in one symbol and short in the other. Return the closed lots, `old` first.

    Both sides close for the average cost of `old`, so no money moves. The quantities sum exactly, as those of the
    strategies do: a rounding remainder stays open.
    """
    if old.quantity * new.quantity >= 0:
        return []
    units = min(abs(old.quantity), abs(new.quantity)).copy_sign(old.quantity)
    value = portion(old.cost, units, old.quantity)
    out: list[OppositeClose] = []
    for position, quantity, amount in ((old, -units, -value), (new, units, value)):
        price = divide(divide(amount, quantity), position.unit_value)
        direction: LotDirection = LONG if quantity < 0 else SHORT
        closed_lots, *_ = position.book.close(quantity, amount, ZERO, retain_remainder=True)
        out += [OppositeClose(position, closed_lot, price, direction) for closed_lot in closed_lots]
    return out
