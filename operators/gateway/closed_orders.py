"""Broker orders that have ended: of these a late fill is still told from a repeat."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from operators.gateway.leg import Fill, Leg
from operators.gateway.working import WorkingOrder

KNOWN = 2000


class Late(NamedTuple):
    """A fill that came behind the end of its order, with the order's quantity traded in all."""

    order_id: str
    symbol: str
    side: str
    cause_id: str
    cum_quantity: Decimal
    fill: Fill


class EndedLegs:
    """The last `KNOWN` of them."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, ...]] = {}  # client_order_id -> leg, order_id, symbol, side, cause, cum

    def add(self, order: WorkingOrder, leg: Leg) -> None:
        terms = order.terms
        about = (terms.order_id, terms.symbol, terms.side, terms.cause_id)
        self._known[leg.client_order_id] = (leg.plain(), *about, order.cum_quantity)
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]

    def take(self, event: str, name: str, quantity: Decimal, price: Decimal, cum: Decimal) -> Late | None:
        """What a report on an ended order tells that was not known; None for a repeat and for what is not ours."""
        known = self._known.get(name)
        if known is None:
            return None
        plain, order_id, symbol, side, cause_id, traded = known
        leg = Leg.revive(plain)
        fill = leg.told(event, quantity, price, cum)
        if fill is None:
            return None
        traded += fill.quantity
        self._known[name] = (leg.plain(), order_id, symbol, side, cause_id, traded)
        return Late(order_id, symbol, side, cause_id, traded, fill)

    def snapshot(self) -> dict[str, tuple[Any, ...]]:
        return dict(self._known)

    def restore(self, snapshot: dict[str, tuple[Any, ...]]) -> None:
        self._known = dict(snapshot)
