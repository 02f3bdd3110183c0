"""The venue's open orders and the links between them: OCO groups, and children that wait for a parent's fill."""

from __future__ import annotations

from decimal import Decimal

from operators.money import ZERO
from operators.venue.venue_order import VenueOrder

ENDED_MAX = 1000
"""Number of ended orders whose outcome is retained, to answer commands that come too late."""


class OrderBook:
    """The open orders of all symbols, and how the last `ENDED_MAX` orders ended.

    by_symbol  the open orders of each symbol in the order of approval; symbols without open orders are absent
    ended      order id -> final state
    """

    def __init__(self) -> None:
        self.by_symbol: dict[str, list[VenueOrder]] = {}
        self.ended: dict[str, str] = {}
        self._held_children = 0  # number of orders that wait for a fill of their parent

    def all_orders(self) -> list[VenueOrder]:
        """Return the orders of all symbols in the order of approval."""
        return sorted((order for orders in self.by_symbol.values() for order in orders), key=lambda order: order.seq)

    def find(self, symbol: str, order_id: str) -> VenueOrder | None:
        """Return the open order with this id, or the open order that has replaced it."""
        orders = self.by_symbol.get(symbol, ())
        return next((order for order in orders if order.order_id == order_id or order_id in order.former_ids), None)

    def find_parent(self, cause_id: str) -> VenueOrder | None:
        """Return the open order with this cause."""
        every_order = (order for orders in self.by_symbol.values() for order in orders)
        return next((order for order in every_order if order.cause_id == cause_id), None)

    def add(self, order: VenueOrder) -> None:
        self.by_symbol.setdefault(order.terms.symbol, []).append(order)
        self._held_children += order.is_held

    def remove(self, order: VenueOrder) -> None:
        orders = self.by_symbol[order.terms.symbol]
        orders.remove(order)
        self._held_children -= order.is_held
        self.ended[order.order_id] = order.state.value
        if len(self.ended) > ENDED_MAX:
            del self.ended[next(iter(self.ended))]
        if not orders:
            del self.by_symbol[order.terms.symbol]

    def group_of(self, order: VenueOrder) -> list[VenueOrder]:
        """Return the other open orders of an order's OCO group."""
        group_id = order.terms.group_id
        if not group_id:
            return []
        return [other for other in self.all_orders() if other.terms.group_id == group_id and other is not order]

    def held_children(self, parent: VenueOrder) -> list[VenueOrder]:
        """Return the orders of which a part waits until `parent` is filled."""
        if not self._held_children:
            return []
        return [order for order in self.all_orders() if order.is_held and order.terms.parent_id == parent.cause_id]

    def adopt_children(self, replaced: VenueOrder, successor: VenueOrder) -> None:
        """Let the orders that wait for a replaced order wait for its successor.

        Those for its full quantity, such as the exits of a bracket, follow an amended quantity; others keep their own.
        """
        for child in self.held_children(replaced):
            child.terms = child.terms._replace(parent_id=successor.cause_id)
            if child.held_back == replaced.remaining:
                child.reduce(replaced.terms.quantity - successor.terms.quantity)
                child.held_back = successor.remaining

    def release(self, child: VenueOrder, quantity: Decimal | None = None) -> None:
        """Activate a held order: `quantity` units that its parent filled, or all of it once the parent is filled."""
        child.waits_for_parent = False
        child.held_back = ZERO if quantity is None else max(ZERO, child.held_back - quantity)
        self._held_children -= not child.held_back
