"""Convert an open order to new shares at a split: one rule for venue, gateway, risk and portfolio.

As under FINRA Rule 5330, prices are divided by the ratio and the quantity is multiplied by it, rounded down to whole
lots. Orders are converted in forward and in reverse splits, so that a position does not lose its stop.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.ledger.split_ratio import split_price, split_quantity
from operators.money import floor_to
from schemas.records import OrderTerms


class SplitOrder(NamedTuple):
    """Terms and filled quantity in new shares. If nothing is left to trade, `filled` is the terms' quantity."""

    terms: OrderTerms
    filled: Decimal


def split_order(terms: OrderTerms, filled: Decimal, ratio: Decimal, lot_size: Decimal) -> SplitOrder:
    """Convert an order of which `filled` units have traded, at a split into `ratio` new units per old unit.

    >>> terms = OrderTerms("X", "SELL", Decimal(10), "STOP", "GTC", stop_price=Decimal(96))
    >>> new_terms, filled = split_order(terms, Decimal(4), Decimal(4), Decimal(1))
    >>> int(new_terms.quantity), int(filled), int(new_terms.stop_price or 0)
    (40, 16, 24)
    """
    new_filled = split_quantity(filled, ratio)
    remaining = split_lots(terms.quantity - filled, ratio, lot_size)
    new_terms = terms._replace(
        quantity=new_filled + remaining,
        limit_price=_new_price(terms.limit_price, ratio),
        stop_price=_new_price(terms.stop_price, ratio),
        trail_amount=_new_price(terms.trail_amount, ratio),
    )
    return SplitOrder(new_terms, new_filled)


def split_lots(quantity: Decimal, ratio: Decimal, lot_size: Decimal) -> Decimal:
    """Return the whole lots that `quantity` (at least 0) becomes."""
    return floor_to(split_quantity(quantity, ratio), lot_size)


def _new_price(price: Decimal | None, ratio: Decimal) -> Decimal | None:
    return None if price is None else split_price(price, ratio)
