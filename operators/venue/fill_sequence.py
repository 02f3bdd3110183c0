"""Which of several orders trades next in a bar.

Of fills whose order is certain, the earlier one: on the way from the open to a price, the nearer level comes first. Of
others, stops before limits, then the fill that is worse for its owner. The order of entry has no effect, except among
orders that share a volume limit: they fill by price, then time.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

from operators.money import ZERO
from operators.venue.bar_path import BarPath, PathFill
from schemas.records import BUY, MARKET, OrderTerms

OrderT = TypeVar("OrderT")
SortKey = tuple[object, ...]


class FillCandidate(NamedTuple, Generic[OrderT]):
    """A fill that an order may have next: the order with its terms and number, and the part of the bar it works in."""

    order: OrderT
    terms: OrderTerms
    seq: int
    start: BarPath
    fill: PathFill

    @property
    def distance(self) -> Decimal:
        """How far the price moves from the start before the order trades."""
        return abs(self.fill.level - self.start.price)

    @property
    def is_upwards(self) -> bool:
        return self.fill.level > self.start.price


def next_at_once(candidates: Sequence[FillCandidate[OrderT]], *, shares_volume: bool) -> FillCandidate[OrderT]:
    """Return the next of the orders that trade at the first price of their path. All trade at the same price."""
    if len(candidates) == 1:
        return candidates[0]
    return min(candidates, key=_volume_key if shares_volume else _at_once_key)


def next_later(candidates: Sequence[FillCandidate[OrderT]], *, shares_volume: bool) -> FillCandidate[OrderT]:
    """Return the next of the orders that trade after the first price of their path."""
    if len(candidates) == 1:
        return candidates[0]
    first = min(candidates, key=_worst_key)
    on_the_way = [
        one
        for one in candidates
        if one.start == first.start and one.is_upwards == first.is_upwards and one.distance <= first.distance
    ]

    def key(one: FillCandidate[OrderT]) -> SortKey:
        same_level = () if shares_volume else (one.terms.reduce_only, -one.terms.quantity)
        return (one.distance, not one.fill.is_stop, *same_level, one.seq)

    return min(on_the_way, key=key)


def _volume_key(one: FillCandidate[Any]) -> SortKey:
    return (*_price_key(one), one.seq)


def _at_once_key(one: FillCandidate[Any]) -> SortKey:
    """Orders that do not depend on others come first, so that a reduce-only order closes what they leave."""
    terms = one.terms
    if not terms.reduce_only and not terms.group_id:
        return (False, False, one.seq)
    return (True, terms.reduce_only, *_price_key(one), terms.order_type != MARKET, -terms.quantity, one.seq)


def _price_key(one: FillCandidate[Any]) -> SortKey:
    """Those that would have paid most, or taken least, come first."""
    limit, price = one.terms.limit_price, one.start.price
    spared = ZERO if limit is None else (limit - price if one.terms.side == BUY else price - limit)
    return (limit is not None, -spared)


def _worst_key(one: FillCandidate[Any]) -> SortKey:
    """Stops before limits, then the fill that loses most by the close, then buys before sells."""
    is_buy, fill, close = one.terms.side == BUY, one.fill, one.start.close
    gain = close - fill.price if is_buy else fill.price - close
    return (not fill.is_stop, gain, not is_buy, one.distance, one.seq)
