"""Close short lots with long lots of the same share, which a merger or symbol change can bring into one tax book.

The long units are delivered against the short sale. Its gain is the proceeds of the short sale minus the basis of the
delivered units, and its holding period is theirs (IRS Pub. 550, "Short Sales"). The long lots have no gain of their
own, so each pair is one match.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from operators.ledger.lots import ClosedLot, LotBook
from operators.ledger.open_lot import OpenLot
from operators.money import ZERO


class Delivery(NamedTuple):
    """A part of a short lot that is closed, and the long lot whose units close it."""

    short: ClosedLot
    long: OpenLot


def deliver(long_book: LotBook, short_book: LotBook) -> Iterator[Delivery]:
    """Close as many units of both books as possible, each in the order of its lot method. Yield the pairs.

    The exit value of a short lot is the basis of the units that close it: cost, opening fees and carried losses.
    """
    units = min(long_book.quantity, -short_book.quantity)
    closed_lots, *_ = long_book.close(-units, ZERO, ZERO)
    for delivered in closed_lots:
        basis = delivered.entry_value + delivered.entry_fees + delivered.carried_loss
        shorts, *_ = short_book.close(delivered.quantity, basis, ZERO)
        for short in shorts:
            yield Delivery(short, delivered.lot)
