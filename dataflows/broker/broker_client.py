"""Send the gateway's intents to the broker, each order exactly once, and resolve requests without a response.

Each order has its own client order id, which the broker accepts once. After a missing response or a restart, the client
looks the id up before it submits again. It resubmits only if the broker still reports "not found" after `settle_s`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from configs.settings import AlpacaGatewaySection
from dataflows.broker.activity_poll import ActivityPoll
from dataflows.broker.alpaca_api import NOT_FOUND, AlpacaApi, decimal_text, parse_decimal
from dataflows.broker.attached_stops import AttachedStops
from dataflows.broker.broker_errors import BrokerRejected, BrokerThrottled, BrokerUncertain
from dataflows.broker.first_reconciliation import FirstReconciliation
from dataflows.broker.pending_requests import BACKOFF_S, PendingCancel, PendingSubmit, backoff_s
from dataflows.broker.request_budget import RequestBudget
from dataflows.broker.updates import (
    FINAL_STATUSES,
    OrderIdPrefix,
    account_record,
    gateway_update,
    update_from_order,
    update_from_stream,
)
from dataflows.broker.watched_orders import WatchedOrders
from schemas.records import (
    CANCELED,
    CONNECTED,
    DISCONNECTED,
    READY,
    REJECTED,
    SUBMIT,
    UNKNOWN,
    BrokerAccount,
    BrokerActivity,
    BrokerUpdate,
    GatewayStatus,
    OrderIntent,
)
from sinks.background_thread import BackgroundThread

log = structlog.get_logger(__name__)

_IDLE_S = 0.02
SECOND_NS = 1_000_000_000
Publish = Callable[[BrokerUpdate | BrokerAccount | BrokerActivity], None]


class BrokerClient:
    """Sends intents in its own thread: `start`, `enqueue`, `stop`. Updates go to `publish`, in that thread.

    A `repeat` intent may already have been sent by an earlier process. While the broker's account differs from the
    expected one, it is reconciled every `reconcile_retry_s`. After `disconnected_after_s` without a response, the
    broker counts as disconnected. While `closed_reason` returns a text, every new order is rejected with it. With
    `reconcile_first`, no new order is sent before the gateway was READY once after the start of this client.
    """

    def __init__(
        self,
        api: AlpacaApi,
        order_ids: OrderIdPrefix,
        settings: AlpacaGatewaySection,
        publish: Publish,
        *,
        reconcile_retry_s: float = 2.0,
        disconnected_after_s: float = 5.0,
        now_ns: Callable[[], int] = time.time_ns,
        closed_reason: Callable[[], str] = lambda: "",
        reconcile_first: bool = False,
        budget: RequestBudget | None = None,
    ) -> None:
        self._closed_reason = closed_reason
        self._api, self._order_ids, self._settings = api, order_ids, settings
        self._publish, self._now_ns = publish, now_ns
        self._reconcile_retry_s, self._disconnected_after_s = reconcile_retry_s, disconnected_after_s
        self._budget = budget or RequestBudget(settings.requests_per_minute)
        self._activities = ActivityPoll(api, publish, now_ns, settings.reconcile_s)
        self._lock = threading.Lock()
        self._inbox: list[tuple[OrderIntent, bool]] = []
        # Trade updates and connection states (bool) of the stream, in order of arrival.
        self._stream_messages: list[dict[str, Any] | bool] = []
        self._submits: dict[str, PendingSubmit] = {}
        self._cancels: dict[str, PendingCancel] = {}
        self._attached = AttachedStops(api)
        self._watched = WatchedOrders(api, order_ids, self._attached)
        self._authorized = self._connected = False
        self._reconcile_due_s = self._failing_since_s = 0.0
        self._gateway_ready = False  # whether the gateway's last status was READY
        self._reconciliation = FirstReconciliation(now_ns(), required=reconcile_first)
        # Not restarted in this process: what was in flight is known only to a successor that reads the records.
        self._thread = BackgroundThread("broker-edge", self._run, restart=False)
        self._stop_event = self._thread.stop_requested

    # -- from other threads --------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def enqueue(self, intents: Iterable[tuple[OrderIntent, bool]]) -> None:
        """Queue recorded intents in order, each with whether it is a repeat."""
        with self._lock:
            self._inbox += intents

    def on_gateway_status(self, status: GatewayStatus) -> None:
        """Receive each status of the gateway's stage, in order. The sink calls it."""
        self._gateway_ready = status.state == READY
        self._reconciliation.on_status(status)

    def on_state(self, authorized: bool) -> None:
        with self._lock:
            self._stream_messages.append(authorized)

    def on_update(self, data: dict[str, Any]) -> None:
        with self._lock:
            self._stream_messages.append(data)

    @property
    def failed(self) -> bool:
        """Whether the thread ended without `stop`. The process must then exit; its successor resolves open orders."""
        return self._thread.ended

    def stop(self) -> None:
        self._thread.request_stop()
        self._thread.join(15)

    # -- the loop ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._publish(gateway_update(DISCONNECTED, self._now_ns(), self._reconciliation.text))
        while not self._stop_event.is_set():
            if not self.step():
                self._stop_event.wait(_IDLE_S)

    def step(self) -> bool:
        """Process new intents and updates, then send at most one request. Return False if no request was due."""
        with self._lock:
            inbox, self._inbox = self._inbox, []
            messages, self._stream_messages = self._stream_messages, []
        for intent, repeat in inbox:
            self._register_intent(intent, repeat)
        for message in messages:
            if isinstance(message, bool):
                self._on_stream_state(message)
            else:
                self._on_trade_update(message)
        self._reject_if_closed()
        now_s = time.monotonic()
        try:
            return self._send_next_request(now_s)
        except BrokerThrottled as throttled:
            self._budget.throttled(now_s, throttled.wait_s)
        except BrokerUncertain as error:
            self._failing_since_s = self._failing_since_s or now_s
            if now_s - self._failing_since_s >= self._disconnected_after_s:
                self._publish_disconnected(str(error))
            self._budget.pause_until(time.monotonic() + BACKOFF_S[0])
        return False

    def _register_intent(self, intent: OrderIntent, repeat: bool) -> None:
        client_order_id = intent.client_order_id
        self._attached.register(intent)
        if intent.kind == SUBMIT:
            self._submits.setdefault(client_order_id, PendingSubmit(intent, repeat, time.monotonic(), was_sent=repeat))
        else:
            self._cancels.setdefault(client_order_id, PendingCancel(intent))

    def _reject_if_closed(self) -> None:
        """Reject the orders that were not sent while none may be sent. An uncertain one is looked up first."""
        reason = self._closed_reason() if self._submits else ""
        if reason:
            for client_order_id in [name for name, submit in self._submits.items() if not submit.uncertain]:
                self._publish_rejected(client_order_id, reason)

    def _on_stream_state(self, authorized: bool) -> None:
        if authorized:
            self._authorized, self._reconcile_due_s = True, 0.0
            self._watched.set_all_due()
        elif self._authorized:
            self._authorized = False
            self._publish_disconnected("the stream of trade updates is disconnected")

    def _publish_disconnected(self, reason: str) -> None:
        if self._connected:
            self._connected = False
            self._publish(gateway_update(DISCONNECTED, self._now_ns(), reason))

    def _on_trade_update(self, data: dict[str, Any]) -> None:
        order = data.get("order") or {}
        client_order_id = self._order_ids.strip_from(order.get("client_order_id")) or self._attached.id_of(order)
        if client_order_id is None:
            return
        try:
            update = update_from_stream(data, client_order_id, self._now_ns())
        except BrokerUncertain as error:
            update = gateway_update(UNKNOWN, self._now_ns(), str(error), client_order_id)
        self._watch_order(client_order_id, order, time.monotonic() + self._settings.refetch_s)
        self._publish(update)

    def _watch_order(self, client_order_id: str, order: dict[str, Any], due_s: float) -> None:
        """Record that the broker has the order: drop its pending submit and look it up until it ends."""
        self._submits.pop(client_order_id, None)
        self._watched.add(client_order_id, order, due_s)

    # -- requests, the most urgent first -------------------------------------------------------------------------------

    def _send_next_request(self, now_s: float) -> bool:
        if self._budget.allows(now_s, cancel=True):
            for client_order_id, cancel in self._cancels.items():
                if cancel.due_s <= now_s:
                    self._send_cancel(client_order_id, cancel, now_s)
                    return True
        if not self._authorized or not self._budget.allows(now_s):
            return False
        for client_order_id, submit in self._submits.items():
            if submit.due_s <= now_s:
                self._send_submit(client_order_id, submit, now_s)
                return True
        due_order_id = self._watched.next_due(now_s)
        if due_order_id is not None:
            self._refetch(due_order_id, now_s)
            return True
        if self._activities.due_s <= now_s:
            # Before the account, so that its cash is compared with books that have the activities.
            self._budget.record(now_s)
            self._activities.poll(now_s)
            return True
        if self._reconciliation.restart_recorded and self._reconcile_due_s <= now_s:
            self._reconcile(now_s)
            return True
        return False

    def _send_submit(self, client_order_id: str, submit: PendingSubmit, now_s: float) -> None:
        if submit.uncertain:
            self._resolve_submit(client_order_id, submit, now_s)
            return
        age_s = (self._now_ns() - submit.intent.ts_ns) / SECOND_NS
        if age_s > self._settings.order_age_max_s:
            self._publish_rejected(
                client_order_id,
                f"not sent: the order is {age_s:.0f} s old, the maximum is {self._settings.order_age_max_s:g} s",
            )
            return
        if not self._reconciliation.completed:
            submit.due_s = now_s + self._reconcile_retry_s
            return
        submit.attempts += 1
        submit.attempted_s = now_s
        self._budget.record(now_s)
        try:
            order = self._api.submit(submit.intent, self._order_ids.add_to(client_order_id))
        except BrokerThrottled:
            submit.due_s = now_s + backoff_s(submit.attempts)
            raise
        except BrokerUncertain as error:
            submit.uncertain, submit.was_sent, submit.due_s = True, True, time.monotonic() + BACKOFF_S[0]
            submit.attempted_s = time.monotonic()
            self._publish_unknown(client_order_id, f"no response to the order: {error}")
            return
        except BrokerRejected as rejection:
            if "must be unique" in rejection.message and submit.was_sent:
                submit.uncertain, submit.due_s = True, 0.0
            elif "must be unique" in rejection.message:
                # The broker's order belongs to a history that a restore has replaced: its fills are not this order's.
                self._publish_rejected(
                    client_order_id,
                    "not sent: the broker has an order with this id from before the platform was restored",
                )
            else:
                self._publish_rejected(client_order_id, rejection.message)
            return
        # Until the broker has reported the attached stop too, the order is looked up again.
        submit.uncertain, submit.was_sent, submit.due_s = True, True, now_s + BACKOFF_S[0]
        self._confirm_submit(client_order_id, submit.intent, order, now_s)

    def _resolve_submit(self, client_order_id: str, submit: PendingSubmit, now_s: float) -> None:
        """Look an uncertain order up by its id. "Not found" is final only after `settle_s`: it may be on its way."""
        submit.attempts += 1
        self._budget.record(now_s)
        submit.due_s = now_s + backoff_s(submit.attempts)
        try:
            order = self._api.find(self._order_ids.add_to(client_order_id))
        except BrokerRejected as rejection:
            if rejection.status != NOT_FOUND:
                self._publish_unknown(client_order_id, rejection.message)
            elif now_s - submit.attempted_s >= self._settings.settle_s:
                # The id is unused, so a resubmit creates at most one order.
                submit.uncertain, submit.due_s = False, 0.0
            return
        self._confirm_submit(client_order_id, submit.intent, order, now_s)

    def _confirm_submit(self, client_order_id: str, intent: OrderIntent, order: dict[str, Any], now_s: float) -> None:
        broker_terms = (
            str(order.get("symbol")),
            str(order.get("side")).upper(),
            decimal_text(parse_decimal(order.get("qty"))),
        )
        expected_terms = (intent.terms.symbol, intent.terms.side, decimal_text(intent.terms.quantity))
        if broker_terms != expected_terms:
            self._submits.pop(client_order_id, None)
            self._publish_unknown(
                client_order_id,
                f"the broker has {' '.join(broker_terms)} under this id, expected {' '.join(expected_terms)}",
            )
            return
        stop = self._attached.find(intent, order)
        due_s = now_s + self._settings.refetch_s
        self._watch_order(client_order_id, order, due_s)
        self._publish_order(client_order_id, order, refetched=False)
        if stop is not None:
            self._watch_order(intent.stop_client_order_id, stop, due_s)
            self._publish_order(intent.stop_client_order_id, stop, refetched=False)

    def _send_cancel(self, client_order_id: str, cancel: PendingCancel, now_s: float) -> None:
        # An attached stop is sent, and cancelled, with its order.
        submitted_id = self._attached.order_of(client_order_id)
        submit = self._submits.get(submitted_id)
        if submit is not None and not submit.uncertain:
            del self._submits[submitted_id], self._cancels[client_order_id]
            for name in self._attached.both(submitted_id):
                self._publish(gateway_update(CANCELED, self._now_ns(), "canceled before it was sent", name))
            return
        cancel.attempts += 1
        cancel.due_s = now_s + backoff_s(cancel.attempts)
        broker_order_id = self._watched.broker_id(client_order_id)
        self._budget.record(now_s)
        try:
            if broker_order_id is None and submitted_id != client_order_id:
                if submit is None:
                    del self._cancels[client_order_id]  # its order was rejected or has ended
                return
            if broker_order_id is None:
                order = self._api.find(self._order_ids.add_to(client_order_id))
                self._watch_order(client_order_id, order, now_s)
                cancel.due_s = now_s
                return
            self._api.cancel(broker_order_id)
        except BrokerRejected as rejection:
            if rejection.status == NOT_FOUND and broker_order_id is None:
                if submit is None and cancel.attempts > len(BACKOFF_S):
                    del self._cancels[client_order_id]
                return
            # The order has ended; the lookup reports how.
            log.info("cancel rejected", order=client_order_id, reason=rejection.message)
        del self._cancels[client_order_id]
        self._watched.set_due(client_order_id, now_s)

    def _refetch(self, client_order_id: str, now_s: float) -> None:
        self._watched.set_due(client_order_id, now_s + self._settings.refetch_s)
        self._budget.record(now_s)
        try:
            order = self._watched.fetch(client_order_id)
        except BrokerRejected as rejection:
            self._publish_unknown(client_order_id, f"order lookup failed: {rejection.message}")
            return
        self._watched.set_due(client_order_id, now_s + self._settings.poll_s)
        self._publish_order(client_order_id, order, refetched=True)

    def _publish_order(self, client_order_id: str, order: dict[str, Any], *, refetched: bool) -> None:
        """`refetched`: not the first report of the order, so a final status includes every fill."""
        self._failing_since_s = 0.0
        update = update_from_order(order, client_order_id, self._now_ns())
        if self._watched.is_new_update(client_order_id, update.update_id):
            self._publish(update)
        if update.text in FINAL_STATUSES and refetched:
            self._watched.remove(client_order_id)
            self._cancels.pop(client_order_id, None)

    def _reconcile(self, now_s: float) -> None:
        self._budget.record(now_s, 3)
        wait_s = self._settings.reconcile_s if self._gateway_ready else self._reconcile_retry_s
        self._reconcile_due_s = now_s + self._reconcile_retry_s
        account = self._api.account_snapshot()
        self._failing_since_s = 0.0
        if not self._connected:
            self._connected = True
            self._publish(gateway_update(CONNECTED, self._now_ns(), f"account {account.account_number}"))
        self._publish(account_record(account, self._order_ids, self._now_ns()))
        self._reconcile_due_s = now_s + wait_s

    def _publish_rejected(self, client_order_id: str, reason: str) -> None:
        self._submits.pop(client_order_id, None)
        for name in self._attached.both(client_order_id):
            self._publish(gateway_update(REJECTED, self._now_ns(), reason, name))

    def _publish_unknown(self, client_order_id: str, reason: str) -> None:
        self._watched.publish_next(client_order_id)
        log.warning("order status unknown", order=client_order_id, reason=reason)
        self._publish(gateway_update(UNKNOWN, self._now_ns(), reason, client_order_id))
