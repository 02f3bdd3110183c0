"""The orders that the broker has. Each is looked up again from time to time, until the broker reports its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dataflows.broker.alpaca_api import AlpacaApi
from dataflows.broker.attached_stops import AttachedStops
from dataflows.broker.updates import OrderIdPrefix


@dataclass
class _WatchedOrder:
    """`published_id` is the id of its last published update."""

    due_s: float
    published_id: str = ""


class WatchedOrders:
    """The watched orders by client order id: when each is due, its last update, and the broker's own id."""

    def __init__(self, api: AlpacaApi, order_ids: OrderIdPrefix, attached: AttachedStops) -> None:
        self._api, self._order_ids, self._attached = api, order_ids, attached
        self._orders: dict[str, _WatchedOrder] = {}
        self._broker_ids: dict[str, str] = {}  # client_order_id -> the broker's own id

    def add(self, client_order_id: str, order: dict[str, Any], due_s: float) -> None:
        """Watch an order that the broker has reported, or look it up earlier than planned."""
        self._broker_ids[client_order_id] = str(order.get("id"))
        watched = self._orders.setdefault(client_order_id, _WatchedOrder(due_s))
        watched.due_s = min(watched.due_s, due_s)

    def set_due(self, client_order_id: str, due_s: float) -> None:
        """Look an order up at `due_s`, also if the broker has not reported it yet."""
        self._orders.setdefault(client_order_id, _WatchedOrder(due_s)).due_s = due_s

    def set_all_due(self) -> None:
        """Look every order up at once, and publish it again: updates may have been missed."""
        for watched in self._orders.values():
            watched.due_s, watched.published_id = 0.0, ""

    def next_due(self, now_s: float) -> str | None:
        """Return the order that has been due longest; None if none is due."""
        first = min(self._orders, key=lambda client_order_id: self._orders[client_order_id].due_s, default=None)
        return first if first is not None and self._orders[first].due_s <= now_s else None

    def broker_id(self, client_order_id: str) -> str | None:
        """Return the broker's own id of an order; None if the broker has not reported the order."""
        return self._broker_ids.get(client_order_id)

    def fetch(self, client_order_id: str) -> dict[str, Any]:
        """Look an order up. Raises BrokerRejected, BrokerThrottled and BrokerUncertain."""
        if self._attached.order_of(client_order_id) == client_order_id:
            return self._api.find(self._order_ids.add_to(client_order_id))
        order = self._attached.refetch(client_order_id, self._broker_ids[client_order_id])
        self._broker_ids[client_order_id] = str(order.get("id"))
        return order

    def is_new_update(self, client_order_id: str, update_id: str) -> bool:
        """Return whether the order's last published update was another one. Record this one."""
        watched = self._orders[client_order_id]
        is_new, watched.published_id = watched.published_id != update_id, update_id
        return is_new

    def publish_next(self, client_order_id: str) -> None:
        """Publish the next update of an order even if it is the same as the last one."""
        if client_order_id in self._orders:
            self._orders[client_order_id].published_id = ""

    def remove(self, client_order_id: str) -> None:
        """Stop watching an order that has ended."""
        del self._orders[client_order_id]
        self._broker_ids.pop(client_order_id, None)
        self._attached.forget(client_order_id)
