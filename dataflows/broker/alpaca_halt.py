"""Cancel this platform's working orders at Alpaca when trading is halted on this host."""

from __future__ import annotations

import time

import structlog

from configs.settings import Settings
from dataflows.broker.alpaca_api import AlpacaApi
from dataflows.broker.broker_errors import BrokerRejected, BrokerThrottled, BrokerUncertain
from dataflows.broker.halt_guard import HaltGuard
from dataflows.broker.halt_setup import HaltPublisher
from dataflows.broker.request_budget import RequestBudget
from dataflows.broker.submission_gate import SubmissionGate
from dataflows.broker.updates import OrderIdPrefix
from sinks.host_kill_switch import HostKillSwitch

log = structlog.get_logger(__name__)

REQUEST_TIMEOUT_S = 2.0
"""The guard's own requests wait no longer, so that it acts on every order soon."""
_CANCEL_REQUESTED = "pending_cancel"


class AlpacaWorkingOrders:
    """The working orders of this platform at Alpaca. Orders of others on the account are not touched.

    Each request counts in the `budget` of the gateway's client, but waits for nothing.
    """

    def __init__(self, api: AlpacaApi, order_ids: OrderIdPrefix, budget: RequestBudget | None = None) -> None:
        self._api, self._order_ids, self._budget = api, order_ids, budget

    def broker_ids(self) -> dict[str, bool]:
        self._record_request()
        try:
            orders = self._api.open_orders()
        except BrokerThrottled as throttled:
            self._record_throttling(throttled)
            raise
        except BrokerRejected as rejection:
            raise BrokerUncertain(f"the broker rejected the list of orders: {rejection.message}") from rejection
        return {
            str(order.get("id")): order.get("status") == _CANCEL_REQUESTED
            for order in orders
            if self._order_ids.strip_from(order.get("client_order_id")) is not None
        }

    def cancel(self, broker_id: str) -> None:
        self._record_request()
        try:
            self._api.cancel(broker_id)
        except BrokerThrottled as throttled:
            self._record_throttling(throttled)
            raise
        except BrokerRejected as rejection:
            log.info("cancel rejected", order=broker_id, reason=rejection.message)

    def _record_request(self) -> None:
        if self._budget is not None:
            self._budget.record(time.monotonic())

    def _record_throttling(self, throttled: BrokerThrottled) -> None:
        if self._budget is not None:
            self._budget.throttled(time.monotonic(), throttled.wait_s)


def halt_api(settings: Settings) -> AlpacaApi:
    """Return a client that lists and cancels orders. It has a connection of its own."""
    key, secret = settings.alpaca.keys()
    timeout_s = min(REQUEST_TIMEOUT_S, settings.execution.alpaca.request_timeout_s)
    paper = settings.execution.mode == "paper"
    return AlpacaApi(key, secret, paper=paper, url=settings.alpaca.url, timeout_s=timeout_s)


def start_broker_guard(
    settings: Settings,
    switch: HostKillSwitch,
    gate: SubmissionGate,
    order_ids: OrderIdPrefix,
    budget: RequestBudget,
) -> HaltGuard:
    """Start the guard of the gateway to Alpaca. Start it before the first request."""
    orders = AlpacaWorkingOrders(halt_api(settings), order_ids, budget)
    publisher = HaltPublisher(settings.kafka)
    guard = HaltGuard(
        switch, orders, gate, publisher.publish, broker=settings.execution.broker, order_id_prefix=order_ids.prefix
    )
    guard.start()
    return guard
