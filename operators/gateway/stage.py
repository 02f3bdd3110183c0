"""Approved orders meet a broker: what to ask of it, and what its answers mean. `dataflows/broker/` does the asking.

Sources: FIX 4.4 (ExecutionReport), Alpaca's order life cycle and trade updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from operators.gateway.closed_orders import EndedLegs
from operators.gateway.leg import TOTAL, Ending, Fill, Leg
from operators.gateway.positions import Positions
from operators.gateway.reconciliation import Reconciliation
from operators.gateway.reports import ENDS, Reports
from operators.gateway.settings import GatewaySettings
from operators.gateway.translation import (
    AMEND_HERE,
    OCO_HERE,
    OTO_HERE,
    REDUCE_HERE,
    SPLIT_HERE,
    STOP_HERE,
    is_crypto,
    translate,
    watches_stop,
    whole,
)
from operators.gateway.watching import reached_by
from operators.gateway.working import WorkingOrder
from operators.money import ZERO, plain, to_decimal
from operators.orders import OrderEvent, OrderState, follow
from schemas.records import (
    BUY,
    CANCELED,
    DAY,
    EXPIRED,
    HALTED,
    REDUCING,
    REGULAR,
    REJECTED,
    REPLACED,
    TRADE,
    Bar,
    BrokerAccount,
    BrokerUpdate,
    Order,
    OrderCancel,
    Quote,
    Record,
    RiskFence,
)

SNAPSHOT_VERSION = 1
SUBMIT, CANCEL = "SUBMIT", "CANCEL"
CONNECTED, DISCONNECTED, UNKNOWN, PENDING = "CONNECTED", "DISCONNECTED", "UNKNOWN", "PENDING"
_STATUS_ENDS = {"canceled": CANCELED, "expired": EXPIRED, "rejected": REJECTED, "replaced": REPLACED}


class GatewayStage:
    """Reads orders, cancels and fences (of the tick before), quotes, reference data, the broker's updates and books,
    and bars; writes `OrderIntent`, `Execution` and `GatewayStatus` (one `seq` for the last two, the topic's).

    An order is worked as one order at the broker (a leg) after the other. It ends when the broker says so and every
    fill up to the quantity that it names is known; what is not known is never taken for rejected.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self._reports = Reports()
        self._epoch, self._fence = 0, ""
        self._orders: dict[str, WorkingOrder] = {}  # by order_id, in the order of approval
        self._legs: dict[str, str] = {}  # client_order_id -> order_id
        self._ended = EndedLegs()
        self._positions = Positions()
        self._reconciliation = Reconciliation()
        self._status = ("", "")
        self._market: dict[str, tuple[Decimal, str, int]] = {}  # symbol -> last price, session, trading day
        self._ts_ns = 0
        self._moved = False  # something changed that may let a waiting order go on

    @property
    def positions(self) -> Mapping[str, Decimal]:
        """Signed units by symbol, by our own executions."""
        return self._positions.held

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        self._ts_ns = ts_ns
        self._reports.begin(ts_ns)
        if records:
            self._positions.take_actions(records)
        for record in records:
            kind = type(record)
            if kind is Bar or kind is Quote:
                self._see(record)  # type: ignore[arg-type]
            elif isinstance(record, BrokerUpdate):
                self._take_update(record)
            elif isinstance(record, Order):
                self._take_order(record)
            elif isinstance(record, OrderCancel):
                self._cancel(record.order_id, record.reason)
            elif isinstance(record, RiskFence):
                self._take_fence(record)
            elif isinstance(record, BrokerAccount):
                self._reconciliation.compare(record, self._believed(), self._at_broker())
        if self._orders:
            self._expire()
            self._go_on()
        self._tell_status()
        return self._reports.out

    # -- what comes in -------------------------------------------------------------------------------------------------

    def _see(self, seen: Bar | Quote) -> None:
        """Prices and sessions, and stops that are watched here."""
        if type(seen) is Bar:
            before = self._market.get(seen.symbol)
            self._market[seen.symbol] = (to_decimal(seen.close), seen.session, seen.trading_day)
            self._moved |= before is None or before[1:] != (seen.session, seen.trading_day)
        if not self._orders:
            return
        for order in self._orders.values():
            if order.watched and order.terms.symbol == seen.symbol and reached_by(order, seen):
                order.watched, order.triggered, self._moved = False, True, True

    def _take_order(self, order: Order) -> None:
        working = WorkingOrder(order)
        why_not = self._why_not(order)
        if why_not:
            self._reports.ended(working, REJECTED, why_not)
            return
        self._orders[order.order_id] = working
        if order.replaces:
            replaced = self._orders[order.replaces]
            replaced.replaced_by, working.after = order.order_id, order.replaces
            working.note(AMEND_HERE)
            self._withdraw(replaced, f"replaced by {order.order_id}")
        if order.parent_id:
            working.held = True
            working.note(OTO_HERE)
        if order.group_id:
            working.note(OCO_HERE)
        if order.reduce_only:
            working.note(REDUCE_HERE)
        if watches_stop(working, self.settings.instruments.get(order.symbol), self.settings):
            working.watched = True
            working.note(STOP_HERE)
        self._moved = True
        if working.held or working.watched or working.after:
            self._reports.accepted(working)

    def _why_not(self, order: Order) -> str:
        if order.risk_epoch < self._epoch:
            return f"risk epoch {order.risk_epoch} is older than the fence at {self._epoch}"
        if self._fence == HALTED:
            return f"trading is halted since risk epoch {self._epoch}"
        if order.replaces and order.replaces not in self._orders:
            return f"{order.replaces} does not work any more"
        if order.parent_id and not any(o.terms.cause_id == order.parent_id for o in self._orders.values()):
            return f"its parent {order.parent_id} does not work"
        return ""

    def _take_fence(self, fence: RiskFence) -> None:
        self._epoch, self._fence = max(self._epoch, fence.epoch), fence.state
        if fence.state not in (HALTED, REDUCING):
            return
        for order in list(self._orders.values()):
            if fence.state == HALTED or not self._reduces(order):
                why = f"{fence.state.lower()} by risk epoch {fence.epoch}: {fence.reason}"
                self._cancel(order.terms.order_id, why)

    def _reduces(self, order: WorkingOrder) -> bool:
        return order.terms.reduce_only or order.leaves <= self._closable(order)

    def _closable(self, order: WorkingOrder) -> Decimal:
        held = self._positions.of(order.terms.symbol)
        return max(ZERO, -held if order.buying else held)

    def _take_update(self, update: BrokerUpdate) -> None:
        name, event = update.client_order_id, update.event
        if event == CONNECTED:
            self._reconciliation.connect()
            return
        if event == DISCONNECTED:
            self._reconciliation.disconnect(update.text)
            return
        if event == UNKNOWN:
            if name in self._legs:
                self._reconciliation.doubt(name, update.text)
            return
        self._reconciliation.settle(name)
        order = self._orders.get(self._legs.get(name, ""))
        if order is None or order.leg is None:
            self._take_late(update)
            return
        leg = order.leg
        if not leg.accepted and event not in (REJECTED, PENDING) and update.text != "rejected":
            leg.accepted = True
            if order.state is OrderState.SUBMITTED:
                self._reports.accepted(order)
        fill = leg.told(event, update.quantity, update.price, update.cum_quantity)
        if fill is not None:
            self._book(order, fill, update.happened_ns)
        ends = event if event in ENDS else _STATUS_ENDS.get(update.text) if event == TOTAL else None
        if ends is not None:
            leg.ending = Ending(ends, update.cum_quantity, update.text)
        if leg.ended and order.leg is leg:
            self._end_leg(order, leg)

    def _take_late(self, update: BrokerUpdate) -> None:
        """A fill of an order that had ended for us moves money all the same."""
        amounts = (update.quantity, update.price, update.cum_quantity)
        late = self._ended.take(update.event, update.client_order_id, *amounts)
        if late is None:
            return
        self._positions.add(late.symbol, late.fill.quantity if late.side == BUY else -late.fill.quantity)
        what = (late.order_id, late.symbol, late.side, TRADE)
        traded = (late.fill.quantity, late.fill.price, ZERO, ZERO, late.cum_quantity)
        text = "traded, as the broker says after it had ended"
        self._reports.execute(what, traded, update.happened_ns, text, late.cause_id)

    # -- the order's life ----------------------------------------------------------------------------------------------

    def _book(self, order: WorkingOrder, fill: Fill, happened_ns: int) -> None:
        terms = order.terms
        order.cum_quantity += fill.quantity
        signed = fill.quantity if order.buying else -fill.quantity
        self._positions.add(terms.symbol, signed)
        self._reports.traded(order, fill, happened_ns, self.settings.instruments.get(terms.symbol))
        leaves = order.leaves > 0
        self._moved = True
        for other in list(self._orders.values()):
            if terms.group_id and other.terms.group_id == terms.group_id and other is not order:
                self._cancel(other.terms.order_id, f"{terms.order_id} of group {terms.group_id} traded")
            elif not leaves and other.held and other.terms.parent_id == terms.cause_id:
                other.held = False

    def _end_leg(self, order: WorkingOrder, leg: Leg) -> None:
        """The broker is done with the leg: so is the order, or its next leg follows."""
        self._legs.pop(leg.client_order_id)
        self._ended.add(order, leg)
        order.leg, self._moved = None, True
        filled = leg.cum_quantity >= leg.quantity
        # A stop that has traded was reached: what is left of the order goes on without it.
        order.triggered |= order.has_stop and leg.cum_quantity > 0
        if not order.leaves:
            self._leave(order)
        elif order.why_ended:
            self._end(order, CANCELED, order.why_ended)
        elif not filled:
            assert leg.ending is not None, f"{leg.client_order_id} ended without a reason"
            kind = CANCELED if leg.ending.exec_type == REPLACED else leg.ending.exec_type
            if kind == REJECTED and order.cum_quantity:
                # What has traded cannot be rejected any more: only its next leg was.
                kind = CANCELED
            self._end(order, kind, leg.ending.text)

    def _cancel(self, order_id: str, reason: str) -> None:
        """Cancelling what has ended changes nothing: its own reports have said what became of it."""
        order = self._orders.get(order_id)
        if order is not None:
            self._withdraw(order, reason)

    def _withdraw(self, order: WorkingOrder, reason: str) -> None:
        order.why_ended = order.why_ended or reason
        leg = order.leg
        if leg is None:
            self._end(order, CANCELED, order.why_ended)
        elif not leg.cancel_asked:
            leg.cancel_asked = True
            if order.state is not OrderState.APPROVED:
                order.state = follow(order.state, OrderEvent.ASK_CANCEL, order_id=order.terms.order_id)
            self._reports.intend(CANCEL, order, leg)

    def _end(self, order: WorkingOrder, exec_type: str, text: str) -> None:
        replaced = order.replaced_by in self._orders and exec_type == CANCELED
        self._reports.ended(order, REPLACED if replaced else exec_type, text)
        self._leave(order)

    def _leave(self, order: WorkingOrder) -> None:
        """Out of the book; what waits for it goes on, or ends with it."""
        terms = self._orders.pop(order.terms.order_id).terms
        self._moved = True
        for other in list(self._orders.values()):
            if other.terms.order_id not in self._orders:
                continue  # ended with another one a moment ago
            if other.after == terms.order_id:
                other.after = ""
                other.cum_quantity = order.cum_quantity
                if other.leaves <= 0 or order.state is not OrderState.REPLACED:
                    traded = f"{terms.order_id} had already ended with {plain(order.cum_quantity)} traded"
                    other.cum_quantity = ZERO
                    self._end(other, CANCELED, traded)
            elif other.held and other.terms.parent_id == terms.cause_id:
                if order.replaced_by in self._orders:
                    successor = self._orders[order.replaced_by].terms.cause_id
                    other.terms = other.terms._replace(parent_id=successor)
                elif order.leaves:
                    self._end(other, CANCELED, f"its parent {terms.order_id} ended")

    # -- legs ----------------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        for order in list(self._orders.values()):
            terms = order.terms
            day = self._market.get(terms.symbol, (ZERO, "", 0))[2]
            order.day = order.day or day
            here = order.leg is None or is_crypto(self.settings.instruments.get(terms.symbol))
            if terms.expires_ns is not None and self._ts_ns >= terms.expires_ns:
                self._cancel(terms.order_id, f"good till {terms.expires_ns}")
            elif here and terms.time_in_force == DAY and day > order.day:
                self._cancel(terms.order_id, f"day order of {order.day}")

    def _go_on(self) -> None:
        """Send the next leg of every order that can have one. Another pass where a pass let others go on."""
        while self._moved:
            self._moved = False
            for order in list(self._orders.values()):
                ready = order.leg is None and not (order.held or order.after or order.watched)
                if ready and order.terms.order_id in self._orders:
                    self._send(order)

    def _send(self, order: WorkingOrder) -> None:
        terms, settings = order.terms, self.settings
        instrument = settings.instruments.get(terms.symbol)
        quantity = self._next_quantity(order)
        if quantity is None:
            return
        if quantity <= 0:
            self._end(order, CANCELED, "reduce only: nothing is left to close")
            return
        last, session, _ = self._market.get(terms.symbol, (None, REGULAR, 0))
        opens_short = not order.buying and not self._positions.of(terms.symbol) > 0
        if opens_short and (is_crypto(instrument) or quantity != whole(quantity)):
            self._end(order, CANCELED if order.cum_quantity else REJECTED, "the broker shorts whole shares only")
            return
        told = translate(order, instrument, settings, session, last)
        if isinstance(told, str):
            self._end(order, CANCELED if order.cum_quantity else REJECTED, told)
            return
        order.legs += 1
        name = terms.order_id if order.legs == 1 else f"{terms.order_id}.{order.legs}"
        order.leg = Leg(name, quantity)
        self._legs[name] = terms.order_id
        if order.state is OrderState.APPROVED:
            order.state = follow(order.state, OrderEvent.SUBMIT, order_id=terms.order_id)
        self._reports.intend(SUBMIT, order, order.leg, told)

    def _next_quantity(self, order: WorkingOrder) -> Decimal | None:
        """How much of an order can be at the broker now; None: nothing before others have ended."""
        closable, quantity = self._closable(order), order.leaves
        same = (o for o in self._orders.values() if o is not order and o.terms.symbol == order.terms.symbol)
        taken = sum((o.leg.quantity - o.leg.cum_quantity for o in same if o.leg and o.buying == order.buying), ZERO)
        if order.terms.reduce_only:
            quantity = min(quantity, closable)
        if not closable or quantity <= closable - taken:
            return quantity
        order.note(SPLIT_HERE)
        return closable - taken if closable > taken else None

    # -- what is believed of the broker -------------------------------------------------------------------------------

    def _believed(self) -> dict[str, Decimal]:
        """What is on the broker's account if all is as we think."""
        believed = dict(self._positions.held)
        for symbol, foreign in self.settings.foreign_positions.items():
            believed[symbol] = believed.get(symbol, ZERO) + foreign
        return {symbol: quantity for symbol, quantity in believed.items() if quantity}

    def _at_broker(self) -> dict[str, bool]:
        """Our orders there: whether each is known to work, or still on its way, or about to end."""
        legs = [order.leg for order in self._orders.values() if order.leg is not None]
        return {leg.client_order_id: leg.accepted and leg.ending is None and not leg.cancel_asked for leg in legs}

    def _tell_status(self) -> None:
        status = self._reconciliation.status()
        if status != self._status:
            self._status = status
            self._reports.status(status[0], self.settings.broker, status[1])

    # -- recovery ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        counts = (self._reports.snapshot(), self._epoch, self._fence, self._status, self._moved)
        orders = [order.plain() for order in self._orders.values()]
        parts = (self._positions.snapshot(), self._reconciliation.snapshot())
        return (SNAPSHOT_VERSION, counts, orders, self._ended.snapshot(), dict(self._market), *parts)

    def restore(self, snapshot: Any) -> None:
        version, *state = snapshot
        assert version == SNAPSHOT_VERSION, f"gateway snapshot: version {version} is not known, not {SNAPSHOT_VERSION}"
        counts, orders, ended, market, positions, reconciliation = state
        reports, self._epoch, self._fence, self._status, self._moved = counts
        self._reports.restore(reports)
        revived = [WorkingOrder.revive(plain) for plain in orders]
        self._orders = {order.terms.order_id: order for order in revived}
        self._legs = {order.leg.client_order_id: order.terms.order_id for order in revived if order.leg is not None}
        self._market = dict(market)
        self._ended.restore(ended)
        self._positions.restore(positions)
        self._reconciliation.restore(reconciliation)
