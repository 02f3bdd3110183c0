"""Asks the broker what the gateway intends, each order once, and finds out where an answer is missing.

An order is submitted under an id of its own, which the broker takes once. After no answer, or after a restart, the
broker is asked for that id before anything else; only its own word that there is no such order, given again after a
while, counts as "not there".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog

from dataflows.broker.budget import Budget
from dataflows.broker.http_api import NOT_FOUND, AlpacaApi, Busy, Refused, Unsure, amount, number
from dataflows.broker.updates import FINAL, Named, from_books, from_order, from_stream, of_gateway
from schemas.records import REJECTED, BrokerAccount, BrokerUpdate, OrderIntent

log = structlog.get_logger(__name__)

_PAUSE_S = 0.02
_AGAIN_S = (0.25, 8.0)
CLOCK_NS = 1_000_000_000
Tell = Callable[[BrokerUpdate | BrokerAccount], None]


class EdgeSettings(NamedTuple):
    """Seconds. `order_age_max_s`: an intent older than that is not sent any more. `settle_s`: so long after the last
    attempt the broker's "no such order" is final. `refetch_s`: an order is asked for so long after news of it, as fill
    reports go missing; `poll_s`: and each so often while it works. `reconcile_s`: how often its books are compared,
    `retry_books_s` while they do not agree. `away_s`: without an answer for so long the broker counts as away.
    """

    order_age_max_s: float = 60.0
    settle_s: float = 10.0
    refetch_s: float = 2.0
    poll_s: float = 15.0
    reconcile_s: float = 60.0
    retry_books_s: float = 2.0
    away_s: float = 5.0
    requests_per_minute: int = 180


@dataclass
class _Submit:
    """An order that has no definite answer yet. `unsure`: it may be at the broker."""

    intent: OrderIntent
    unsure: bool
    tried_s: float
    due_s: float = 0.0
    attempts: int = 0


@dataclass
class _Cancel:
    intent: OrderIntent
    due_s: float = 0.0
    attempts: int = 0


@dataclass
class _Watched:
    """An order that the broker has. `told` is what was last passed on of it."""

    due_s: float
    told: str = ""


class BrokerEdge:
    """`start` begins, `take` gives it intents, `end` stops it. What it learns goes to `tell`, in its own thread.

    `repeat` of an intent: an earlier process may have asked for it already.
    """

    def __init__(
        self,
        api: AlpacaApi,
        named: Named,
        settings: EdgeSettings,
        tell: Tell,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._api, self._named, self._settings, self._tell, self._now_ns = api, named, settings, tell, now_ns
        self._budget = Budget(settings.requests_per_minute)
        self._lock = threading.Lock()
        self._inbox: list[tuple[OrderIntent, bool]] = []
        self._heard: list[dict[str, Any] | bool] = []  # of the stream, in its order; True and False: its state
        self._submits: dict[str, _Submit] = {}
        self._cancels: dict[str, _Cancel] = {}
        self._watched: dict[str, _Watched] = {}
        self._at_broker: dict[str, str] = {}  # client_order_id -> the broker's own id
        self._authorised = self._answering = False
        self._books_due_s = self._failing_since_s = 0.0
        self.ready = False
        """Whether the gateway's last status was READY; set by who reads it."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="broker-edge")

    # -- from other threads --------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def take(self, intents: Iterable[tuple[OrderIntent, bool]]) -> None:
        """Intents on record, in order, each with whether it is a repeat."""
        with self._lock:
            self._inbox += intents

    def on_state(self, authorised: bool) -> None:
        with self._lock:
            self._heard.append(authorised)

    def on_update(self, data: dict[str, Any]) -> None:
        with self._lock:
            self._heard.append(data)

    @property
    def dead(self) -> bool:
        """Whether it ended unasked: its process must stop, so that the next one asks for what is open."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._ending.is_set()

    def end(self) -> None:
        self._ending.set()
        self._thread.join(15)

    # -- the loop ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._tell(of_gateway("DISCONNECTED", self._now_ns(), "the gateway begins anew"))
        while not self._ending.is_set():
            if not self.step():
                self._ending.wait(_PAUSE_S)

    def step(self) -> bool:
        """Take in what is new and make at most one request; False where there was nothing to ask."""
        with self._lock:
            inbox, self._inbox = self._inbox, []
            heard, self._heard = self._heard, []
        for intent, repeat in inbox:
            self._note(intent, repeat)
        for message in heard:
            if isinstance(message, bool):
                self._turn(message)
            else:
                self._hear(message)
        now = time.monotonic()
        try:
            return self._ask(now)
        except Busy as busy:
            self._budget.hold(now + busy.wait_s)
        except Unsure as unsure:
            self._failing_since_s = self._failing_since_s or now
            if now - self._failing_since_s >= self._settings.away_s:
                self._lost(str(unsure))
            self._budget.hold(time.monotonic() + _AGAIN_S[0])
        return False

    def _note(self, intent: OrderIntent, repeat: bool) -> None:
        name = intent.client_order_id
        if intent.kind == "SUBMIT":
            self._submits.setdefault(name, _Submit(intent, repeat, time.monotonic()))
        else:
            self._cancels.setdefault(name, _Cancel(intent))

    def _turn(self, authorised: bool) -> None:
        if authorised:
            self._authorised, self._books_due_s = True, 0.0
            # What was said while nobody listened is asked for.
            for watched in self._watched.values():
                watched.due_s, watched.told = 0.0, ""
        elif self._authorised:
            self._authorised = False
            self._lost("the stream of trade updates is cut")

    def _lost(self, reason: str) -> None:
        if self._answering:
            self._answering = False
            self._tell(of_gateway("DISCONNECTED", self._now_ns(), reason))

    def _hear(self, data: dict[str, Any]) -> None:
        order = data.get("order") or {}
        name = self._named.ours(order.get("client_order_id"))
        if name is None:
            return
        try:
            update = from_stream(data, name, self._now_ns())
        except Unsure as unsure:
            update = of_gateway("UNKNOWN", self._now_ns(), str(unsure), name)
        self._have(name, order, time.monotonic() + self._settings.refetch_s)
        self._tell(update)

    def _have(self, name: str, order: dict[str, Any], due_s: float) -> None:
        """The broker has the order: there is nothing to submit any more, and it is asked for until it has ended."""
        self._submits.pop(name, None)
        self._at_broker[name] = str(order.get("id"))
        watched = self._watched.setdefault(name, _Watched(due_s))
        watched.due_s = min(watched.due_s, due_s)

    # -- requests, the most urgent first -------------------------------------------------------------------------------

    def _ask(self, now: float) -> bool:
        if self._budget.allows(now, cancel=True):
            for name, cancel in self._cancels.items():
                if cancel.due_s <= now:
                    self._do_cancel(name, cancel, now)
                    return True
        if not self._authorised or not self._budget.allows(now):
            return False
        for name, submit in self._submits.items():
            if submit.due_s <= now:
                self._do_submit(name, submit, now)
                return True
        due = min(self._watched, key=lambda name: self._watched[name].due_s, default=None)
        if due is not None and self._watched[due].due_s <= now:
            self._refetch(due, now)
            return True
        if self._books_due_s <= now:
            self._compare_books(now)
            return True
        return False

    def _do_submit(self, name: str, submit: _Submit, now: float) -> None:
        if submit.unsure:
            self._settle(name, submit, now)
            return
        age_s = (self._now_ns() - submit.intent.ts_ns) / CLOCK_NS
        if age_s > self._settings.order_age_max_s:
            self._answer(
                name, f"not sent: it was {age_s:.0f} s old, at most {self._settings.order_age_max_s:g} allowed"
            )
            return
        submit.attempts += 1
        submit.tried_s = now
        self._budget.spent(now)
        try:
            order = self._api.submit(submit.intent, self._named.out(name))
        except Busy:
            submit.due_s = now + self._again_s(submit.attempts)
            raise
        except Unsure as unsure:
            submit.unsure, submit.due_s = True, time.monotonic() + _AGAIN_S[0]
            submit.tried_s = time.monotonic()
            self._doubt(name, f"no answer to the order: {unsure}")
            return
        except Refused as refused:
            if "must be unique" in refused.message:
                submit.unsure, submit.due_s = True, 0.0
            else:
                self._answer(name, refused.message)
            return
        self._found(name, submit.intent, order, now)

    def _settle(self, name: str, submit: _Submit, now: float) -> None:
        """Is it there? Asked by its id; not there at once does not mean that it is not on its way."""
        submit.attempts += 1
        self._budget.spent(now)
        submit.due_s = now + self._again_s(submit.attempts)
        try:
            order = self._api.find(self._named.out(name))
        except Refused as refused:
            if refused.status != NOT_FOUND:
                self._doubt(name, refused.message)
            elif now - submit.tried_s >= self._settings.settle_s:
                # The id is still free. Sent again it can only become one order.
                submit.unsure, submit.due_s = False, 0.0
            return
        self._found(name, submit.intent, order, now)

    def _found(self, name: str, intent: OrderIntent, order: dict[str, Any], now: float) -> None:
        terms = (str(order.get("symbol")), str(order.get("side")).upper(), number(amount(order.get("qty"))))
        wanted = (intent.symbol, intent.side, number(intent.quantity))
        if terms != wanted:
            self._submits.pop(name, None)
            self._doubt(name, f"the broker has {' '.join(terms)} under its id, not {' '.join(wanted)}")
            return
        self._have(name, order, now + self._settings.refetch_s)
        self._pass_on(name, order, seen_again=False)

    def _do_cancel(self, name: str, cancel: _Cancel, now: float) -> None:
        submit = self._submits.get(name)
        if submit is not None and not submit.unsure:
            # It never left.
            del self._submits[name], self._cancels[name]
            self._tell(of_gateway("CANCELED", self._now_ns(), "taken back before it was sent", name))
            return
        cancel.attempts += 1
        cancel.due_s = now + self._again_s(cancel.attempts)
        at_broker = self._at_broker.get(name)
        self._budget.spent(now)
        try:
            if at_broker is None:
                order = self._api.find(self._named.out(name))
                self._have(name, order, now)
                cancel.due_s = now
                return
            self._api.cancel(at_broker)
        except Refused as refused:
            if refused.status == NOT_FOUND and at_broker is None:
                if submit is None and cancel.attempts > len(_AGAIN_S):
                    del self._cancels[name]
                return
            # It has ended already: its own state says how.
            log.info("cancel refused", order=name, reason=refused.message)
        del self._cancels[name]
        self._watched.setdefault(name, _Watched(now)).due_s = now

    def _refetch(self, name: str, now: float) -> None:
        watched = self._watched[name]
        watched.due_s = now + self._settings.refetch_s
        self._budget.spent(now)
        try:
            order = self._api.find(self._named.out(name))
        except Refused as refused:
            self._doubt(name, f"asked for it again: {refused.message}")
            return
        watched.due_s = now + self._settings.poll_s
        self._pass_on(name, order, seen_again=True)

    def _pass_on(self, name: str, order: dict[str, Any], *, seen_again: bool) -> None:
        """`seen_again`: not the first news of it, so that its end can be believed to hold every fill."""
        self._failing_since_s = 0.0
        update = from_order(order, name, self._now_ns())
        watched = self._watched[name]
        if watched.told != update.update_id:
            watched.told = update.update_id
            self._tell(update)
        if update.text in FINAL and seen_again:
            del self._watched[name]
            self._at_broker.pop(name, None)
            self._cancels.pop(name, None)

    def _compare_books(self, now: float) -> None:
        self._budget.spent(now, 3)
        wait_s = self._settings.reconcile_s if self.ready else self._settings.retry_books_s
        self._books_due_s = now + self._settings.retry_books_s
        books = self._api.books()
        self._failing_since_s = 0.0
        if not self._answering:
            self._answering = True
            self._tell(of_gateway("CONNECTED", self._now_ns(), f"account {books.account_number}"))
        self._tell(from_books(books, self._named, self._now_ns()))
        self._books_due_s = now + wait_s

    def _answer(self, name: str, reason: str) -> None:
        self._submits.pop(name, None)
        self._tell(of_gateway(REJECTED, self._now_ns(), reason, name))

    def _doubt(self, name: str, reason: str) -> None:
        if name in self._watched:
            self._watched[name].told = ""
        log.warning("an order is in doubt", order=name, reason=reason)
        self._tell(of_gateway("UNKNOWN", self._now_ns(), reason, name))

    @staticmethod
    def _again_s(attempts: int) -> float:
        first, longest = _AGAIN_S
        return min(longest, first * 2.0 ** min(attempts, 8))
