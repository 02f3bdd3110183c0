"""The stop orders that Alpaca attaches to OCO orders. The broker gives them ids of its own.

An attached stop is therefore found through its order, also after a restart: the order has our id.
"""

from __future__ import annotations

from typing import Any

from dataflows.broker.alpaca_api import AlpacaApi
from dataflows.broker.broker_errors import BrokerUncertain
from schemas.records import SUBMIT, OrderIntent

_STOP_TYPES = ("stop", "stop_limit")
_SUCCESSORS_MAX = 20


class AttachedStops:
    """Maps the client order ids of attached stops to their orders and to the broker's ids."""

    def __init__(self, api: AlpacaApi) -> None:
        self._api = api
        self._orders: dict[str, str] = {}  # client_order_id of a stop -> that of its order
        self._stops: dict[str, str] = {}  # the reverse
        self._names: dict[str, str] = {}  # the broker's id of a stop -> its client_order_id

    def register(self, intent: OrderIntent) -> None:
        """Record the stop of an OCO order. Other intents have none."""
        if intent.kind == SUBMIT and intent.stop_client_order_id:
            self._orders[intent.stop_client_order_id] = intent.client_order_id
            self._stops[intent.client_order_id] = intent.stop_client_order_id

    def order_of(self, client_order_id: str) -> str:
        """Return the id of the order to which a stop is attached, or the id itself."""
        return self._orders.get(client_order_id, client_order_id)

    def both(self, client_order_id: str) -> tuple[str, ...]:
        """Return the id of an order and that of its attached stop, if it has one."""
        stop_id = self._stops.get(client_order_id)
        return (client_order_id,) if stop_id is None else (client_order_id, stop_id)

    def id_of(self, order: dict[str, Any]) -> str | None:
        """Return the client order id of an attached stop that the broker reports; None for another order."""
        return self._names.get(str(order.get("id")))

    def find(self, intent: OrderIntent, order: dict[str, Any]) -> dict[str, Any] | None:
        """Return the attached stop of an order that the broker has reported; None if the intent has none.

        Raises BrokerUncertain if the broker does not report it.
        """
        if not intent.stop_client_order_id:
            return None
        legs = order.get("legs") or self._api.order(str(order.get("id"))).get("legs") or []
        stop = next((leg for leg in legs if leg.get("type") in _STOP_TYPES), None)
        if stop is None:
            raise BrokerUncertain(f"the broker reports no stop with the OCO order {intent.client_order_id}")
        stop = self._latest(stop)
        self._names[str(stop.get("id"))] = intent.stop_client_order_id
        return stop

    def refetch(self, client_order_id: str, broker_order_id: str) -> dict[str, Any]:
        """Return an attached stop by the broker's id. Raises BrokerRejected and BrokerUncertain."""
        stop = self._latest(self._api.order(broker_order_id))
        self._names[str(stop.get("id"))] = client_order_id
        return stop

    def forget(self, client_order_id: str) -> None:
        """Forget a stop that has ended. A late report of it is covered by its totals."""
        self._names = {key: name for key, name in self._names.items() if name != client_order_id}

    def _latest(self, stop: dict[str, Any]) -> dict[str, Any]:
        """Follow a stop to the order that has replaced it: the broker may do so after a part fill of the other."""
        for _ in range(_SUCCESSORS_MAX):
            successor = stop.get("replaced_by")
            if stop.get("status") != "replaced" or not successor:
                return stop
            stop = self._api.order(str(successor))
        raise BrokerUncertain(f"order {stop.get('id')} was replaced more than {_SUCCESSORS_MAX} times")
