"""Reduce-only orders: what they can close, and when they end. The venue and the gateway use the same rule.

A reduce-only order protects or closes a position. Once other orders have closed this position, the order ends, so that
it cannot close a later position. An order that waits for its parent is not affected: its position is not open yet.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from operators.money import ZERO
from schemas.records import BUY, Side

POSITION_CLOSED: Final = "reduce-only: the position is closed"
"""Reason of an order that ends because its position was closed."""
NO_POSITION: Final = "reduce-only: no position to close"
"""Reason of an order that ends because there is no position when it is due to trade."""


def closable_units(position: Decimal, side: Side) -> Decimal:
    """Return the units of a signed position that an order of this side can close.

    >>> int(closable_units(Decimal(10), "SELL")), int(closable_units(Decimal(10), "BUY"))
    (10, 0)
    """
    return max(ZERO, -position if side == BUY else position)


def loses_position(side: Side, before: Decimal, after: Decimal) -> bool:
    """Whether a position that an order of this side could close is closed or reversed.

    >>> loses_position("SELL", Decimal(10), Decimal(-5)), loses_position("SELL", Decimal(0), Decimal(0))
    (True, False)
    """
    return bool(closable_units(before, side)) and not closable_units(after, side)
