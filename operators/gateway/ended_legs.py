"""Recently ended broker orders, to distinguish a late fill from a duplicate report."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.leg import Leg, LegFill
from schemas.records import BrokerEvent, Side

ENDED_LEGS_MAX = 2000


class LateFill(NamedTuple):
    """A fill that arrived after the end of its order. `cum_quantity` is the order's total filled quantity."""

    order_id: str
    symbol: str
    side: Side
    cause_id: str
    cum_quantity: Decimal
    fill: LegFill


class EndedLegs:
    """The last `ENDED_LEGS_MAX` ended legs."""

    def __init__(self) -> None:
        self._legs: dict[str, tuple[Any, ...]] = {}  # client_order_id -> leg, order_id, symbol, side, cause, cum

    def add(self, order: GatewayOrder, leg: Leg) -> None:
        terms = order.terms
        identity = (order.order_id, terms.symbol, terms.side, order.cause_id)
        self._legs[leg.client_order_id] = (leg.as_tuple(), *identity, order.cum_quantity)
        if len(self._legs) > ENDED_LEGS_MAX:
            del self._legs[next(iter(self._legs))]

    def match_late_fill(
        self, event: BrokerEvent, client_order_id: str, quantity: Decimal, price: Decimal, cum: Decimal
    ) -> LateFill | None:
        """Return the new fill that a report on an ended order contains; None for a duplicate or an unknown order."""
        entry = self._legs.get(client_order_id)
        if entry is None:
            return None
        leg_state, order_id, symbol, side, cause_id, total_traded = entry
        leg = Leg.from_tuple(leg_state)
        fill = leg.apply_report(event, quantity, price, cum)
        if fill is None:
            return None
        total_traded += fill.quantity
        self._legs[client_order_id] = (leg.as_tuple(), order_id, symbol, side, cause_id, total_traded)
        return LateFill(
            order_id=order_id, symbol=symbol, side=side, cause_id=cause_id, cum_quantity=total_traded, fill=fill
        )

    def snapshot(self) -> dict[str, tuple[Any, ...]]:
        return dict(self._legs)

    def restore(self, snapshot: dict[str, tuple[Any, ...]]) -> None:
        # Legs of earlier releases have fewer fields.
        self._legs = {name: (Leg.from_tuple(leg).as_tuple(), *rest) for name, (leg, *rest) in snapshot.items()}
