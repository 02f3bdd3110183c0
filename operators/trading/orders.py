"""The working orders of one strategy, from its action to the end of the order.

A strategy knows an order by the id that `submit` returned, also after amendments, which create new orders at the venue.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from operators.ledger.split_ratio import split_price
from operators.manual_orders import EXIT_SUFFIXES, order_id_of, trading_strategy_of
from operators.money import ZERO, quantize
from operators.order_split import split_lots
from operators.trading.order_updates import ENDS, OrderUpdate, RequestKind, UpdateStatus, WorkingOrder, WorkingStatus
from schemas.records import NEW, REPLACED, TRADE, Execution, Order, OrderCancel, OrderRefusal

REQUESTS_MAX = 1_000
"""Number of amendments and cancels without an answer that are remembered."""


class TrackedOrder:
    """A working order with what is needed to follow it. `current_id` is the id of the order at the venue."""

    __slots__ = ("amended_terms", "current_id", "filled", "status", "successor_id", "tag", "terms")

    def __init__(self, order_id: str, terms: dict[str, Any], tag: str) -> None:
        self.current_id = order_id
        self.successor_id = ""  # the order that is to replace it
        self.amended_terms: dict[str, Any] = {}  # of the order that replaces it, until the venue accepts that
        self.terms = terms
        self.tag = tag
        self.status: WorkingStatus = "pending"
        self.filled = ZERO

    def as_tuple(self) -> tuple[Any, ...]:
        amended = dict(self.amended_terms)
        return (self.current_id, self.successor_id, amended, dict(self.terms), self.tag, self.status, self.filled)


class StrategyOrders:
    """The working orders of one strategy, and its amendments and cancels without an answer."""

    def __init__(self, strategy: str) -> None:
        self.strategy = strategy
        self._orders: dict[str, TrackedOrder] = {}
        self._ids: dict[str, str] = {}  # id at the venue -> id that the strategy knows, where they differ
        self._requests: dict[str, tuple[RequestKind, str]] = {}  # action id -> what it requests, and of which order

    def __contains__(self, order_id: object) -> bool:
        return order_id in self._orders

    def orders(self, symbol: str | None = None) -> list[WorkingOrder]:
        """Return the working orders, oldest first."""
        return [
            _to_working_order(order_id, one)
            for order_id, one in self._orders.items()
            if symbol is None or one.terms["symbol"] == symbol
        ]

    def ids(self, symbol: str | None = None) -> list[str]:
        return [order_id for order_id, one in self._orders.items() if symbol is None or one.terms["symbol"] == symbol]

    def symbol_of(self, order_id: str) -> str | None:
        """Return the symbol of a working order; None if the order has ended."""
        one = self._orders.get(order_id)
        return None if one is None else one.terms["symbol"]

    def tag_of(self, order_id: str) -> str:
        one = self._orders.get(self._ids.get(order_id, order_id))
        return "" if one is None else one.tag

    def known_id(self, order_id: str) -> str:
        """Return the id by which the strategy knows an order."""
        return self._ids.get(order_id, order_id)

    def is_own(self, order_id: str, actions: int) -> bool:
        """Whether the id is that of an order of the strategy, of its first `actions` actions, open or ended."""
        if not isinstance(order_id, str) or trading_strategy_of(order_id) != self.strategy:
            return False
        for suffix in EXIT_SUFFIXES:
            order_id = order_id.removesuffix(suffix)
        number = order_id.rpartition("-")[2]
        return number.isascii() and number.isdigit() and 1 <= int(number) <= actions

    # -- actions

    def add(self, order_id: str, terms: dict[str, Any], tag: str) -> None:
        """Add an order that the strategy submits. `terms` are the fields of `OrderTerms` that have a value."""
        self._orders[order_id] = TrackedOrder(order_id, terms, tag)

    def add_request(self, action: str, kind: RequestKind, order_id: str) -> None:
        self._requests[action] = (kind, order_id)
        if len(self._requests) > REQUESTS_MAX:
            del self._requests[next(iter(self._requests))]

    def discard(self, order_ids: Iterable[str], actions: Iterable[str]) -> None:
        """Remove orders and requests that were not sent."""
        for order_id in order_ids:
            self._orders.pop(order_id, None)
        for action in actions:
            self._requests.pop(action, None)

    # -- answers

    def apply_order(self, order: Order) -> None:
        """Process an order that risk has approved."""
        if order.replaces:
            self._requests.pop(order.cause_id, None)
            known = self.known_id(order.replaces)
            tracked = self._orders.get(known)
            if tracked is not None:
                tracked.successor_id, tracked.amended_terms = order.order_id, _amendable_terms(order)
                self._ids[order.order_id] = known
            return
        tracked = self._orders.get(order.order_id)
        if tracked is not None and tracked.status == "pending":
            tracked.status = "approved"
            tracked.terms["quantity"] = order.terms.quantity  # risk reduces an order that only closes

    def apply_cancel(self, cancel: OrderCancel) -> None:
        """Process a cancel that risk has passed on."""
        self._requests.pop(cancel.cause_id, None)

    def apply_refusal(self, refusal: OrderRefusal, ts_ns: int) -> OrderUpdate | None:
        """Process a rejection by risk."""
        request = self._requests.pop(refusal.cause_id, None)
        kind, order_id = request or ("submit", order_id_of(refusal.cause_id))
        tracked = self._orders.get(order_id)
        if tracked is None and request is None:
            return None
        if kind == "submit":
            self._end(order_id)
            for suffix in EXIT_SUFFIXES:
                self._end(order_id + suffix)
        return OrderUpdate(
            order_id=order_id,
            symbol=refusal.symbol,
            status="rejected",
            request=kind,
            check=refusal.check,
            limit=refusal.limit,
            value=refusal.found,
            reason=refusal.message,
            tag="" if tracked is None else tracked.tag,
            filled=0.0 if tracked is None else float(tracked.filled),
            time=ts_ns,
        )

    def apply_report(self, report: Execution, ts_ns: int) -> OrderUpdate | None:
        """Process a report of the venue. Return the update for the strategy; None for a fill and for no change."""
        known = self.known_id(report.order_id)
        tracked = self._orders.get(known)
        if tracked is None:
            return None
        is_successor = report.order_id == tracked.successor_id
        if report.exec_type == TRADE:
            tracked.filled = quantize(report.cum_quantity)
            tracked.status = "partially filled"
            if not report.leaves_quantity:
                self._end(known)
            return None
        if report.exec_type == REPLACED:
            if tracked.successor_id:
                tracked.current_id, tracked.successor_id = tracked.successor_id, ""
            return None
        if report.exec_type == NEW:
            return self._accept(known, tracked, report, ts_ns)
        status = ENDS[report.exec_type]
        if is_successor:
            # The amendment failed; the order works on as it was.
            self._ids.pop(report.order_id, None)
            tracked.successor_id, tracked.amended_terms = "", {}
            return self._update(known, tracked, report, status, "amend", ts_ns)
        if report.order_id != tracked.current_id:
            return None
        update = self._update(known, tracked, report, status, "submit", ts_ns)
        self._end(known)
        return update

    def _accept(self, known: str, tracked: TrackedOrder, report: Execution, ts_ns: int) -> OrderUpdate | None:
        if report.order_id != known:  # an amendment
            tracked.current_id, tracked.successor_id = report.order_id, ""
            amended = tracked.amended_terms
            self._amend_exits(known, tracked.terms["quantity"], amended.get("quantity", tracked.terms["quantity"]))
            tracked.terms, tracked.amended_terms = tracked.terms | amended, {}
            return self._update(known, tracked, report, "amended", "amend", ts_ns)
        if tracked.status not in ("pending", "approved"):
            return None
        tracked.status = "accepted"
        return self._update(known, tracked, report, "accepted", "submit", ts_ns)

    def _amend_exits(self, entry_id: str, quantity: Decimal, amended: Decimal) -> None:
        """Let the exits for the full quantity of an entry follow its new quantity, as risk and the venue do."""
        for one in self._orders.values():
            if one.terms.get("parent_id") == entry_id and one.terms["quantity"] == quantity:
                one.terms["quantity"] = amended

    @staticmethod
    def _update(
        known: str, tracked: TrackedOrder, report: Execution, status: UpdateStatus, request: RequestKind, ts_ns: int
    ) -> OrderUpdate:
        rejected = status == "rejected"
        return OrderUpdate(
            order_id=known,
            symbol=report.symbol,
            status=status,
            request=request,
            check="venue" if rejected else "",
            limit="",
            value=report.text if rejected else "",
            reason=report.text,
            tag=tracked.tag,
            filled=float(tracked.filled),
            time=ts_ns,
        )

    def _end(self, order_id: str) -> None:
        if self._orders.pop(order_id, None) is not None and self._ids:
            self._ids = {one: known for one, known in self._ids.items() if known != order_id}

    def split(self, symbol: str, ratio: Decimal, lot_size: Decimal) -> None:
        """Convert the working orders of a symbol to the shares after a split, in whole lots."""
        for tracked in self._orders.values():
            terms = tracked.terms
            if terms["symbol"] != symbol:
                continue
            terms["quantity"] = split_lots(terms["quantity"], ratio, lot_size)
            tracked.filled = split_lots(tracked.filled, ratio, lot_size)
            for name in ("limit_price", "stop_price", "trail_amount"):
                if terms.get(name) is not None:
                    terms[name] = split_price(terms[name], ratio)

    # -- state

    def snapshot(self) -> Any:
        orders = [(order_id, one.as_tuple()) for order_id, one in self._orders.items()]
        return (orders, dict(self._ids), [(action, *request) for action, request in self._requests.items()])

    def restore(self, snapshot: Any) -> None:
        orders, ids, requests = snapshot
        self._ids = dict(ids)
        self._requests = {action: (kind, order_id) for action, kind, order_id in requests}
        self._orders = {}
        for order_id, (current_id, successor_id, amended, terms, tag, status, filled) in orders:
            tracked = self._orders[order_id] = TrackedOrder(current_id, dict(terms), tag)
            tracked.amended_terms = dict(amended)
            tracked.successor_id, tracked.status, tracked.filled = successor_id, status, filled


def _amendable_terms(order: Order) -> dict[str, Any]:
    names = ("quantity", "limit_price", "stop_price", "trail_amount", "trail_percent")
    return {name: getattr(order.terms, name) for name in names}


def _to_working_order(order_id: str, tracked: TrackedOrder) -> WorkingOrder:
    terms = tracked.terms
    prices = (
        _optional_float(terms.get(name)) for name in ("limit_price", "stop_price", "trail_amount", "trail_percent")
    )
    limit_price, stop_price, trail_amount, trail_percent = prices
    return WorkingOrder(
        id=order_id,
        symbol=terms["symbol"],
        side=terms["side"],
        quantity=float(terms["quantity"]),
        filled=float(tracked.filled),
        type=terms["order_type"],
        limit_price=limit_price,
        stop_price=stop_price,
        trail_amount=trail_amount,
        trail_percent=trail_percent,
        time_in_force=terms["time_in_force"],
        reduce_only=terms.get("reduce_only", False),
        parent_id=terms.get("parent_id", ""),
        status=tracked.status,
        tag=tracked.tag,
    )


def _optional_float(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
