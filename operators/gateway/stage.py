"""The gateway stage: decide what to send to the broker, and interpret its reports.

`dataflows/broker/` sends the requests. Sources: FIX 4.4 (ExecutionReport), Alpaca's order life cycle and trade updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from operators.gateway.ended_legs import EndedLegs
from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.leg import ORDER_TOTAL, Fill, Leg, LegEnd
from operators.gateway.positions import GatewayPositions
from operators.gateway.reconciliation import Reconciliation
from operators.gateway.reports import END_EVENTS, GatewayReports
from operators.gateway.settings import GatewaySettings
from operators.gateway.stop_trigger import update_stop
from operators.gateway.translation import (
    AMEND_EMULATED,
    OCO_EMULATED,
    OTO_EMULATED,
    REDUCE_EMULATED,
    SPLIT_EMULATED,
    STOP_EMULATED,
    is_crypto,
    needs_stop_watch,
    to_broker_terms,
    whole_units,
)
from operators.money import ZERO, plain, to_decimal
from operators.order_lifecycle import OrderEvent, OrderState, next_state
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
_EXEC_TYPE_OF_STATUS = {"canceled": CANCELED, "expired": EXPIRED, "rejected": REJECTED, "replaced": REPLACED}


class GatewayStage:
    """The logic of the broker gateway.

    Inputs: orders, cancels and fences (of the previous time slice), quotes, reference data, the broker's updates and
    account snapshots, and bars. Outputs: `OrderIntent`, `Execution` and `GatewayStatus` (the last two with a common
    `seq`).

    The gateway works an order as a sequence of orders at the broker (*legs*), one at a time. A leg ends when the broker
    has reported its end and every fill up to the reported quantity is known. An order with an unknown status is never
    treated as rejected.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self._reports = GatewayReports()
        self._epoch, self._fence_state = 0, ""
        self._orders: dict[str, GatewayOrder] = {}  # by order_id, in the order of approval
        self._legs: dict[str, str] = {}  # client_order_id -> order_id
        self._ended = EndedLegs()
        self._positions = GatewayPositions()
        self._reconciliation = Reconciliation()
        self._status = ("", "")
        self._market: dict[str, tuple[Decimal, str, int]] = {}  # symbol -> last price, session, trading day
        self._ts_ns = 0
        self._may_proceed = False  # whether a waiting order may be able to proceed, because something changed

    @property
    def positions(self) -> Mapping[str, Decimal]:
        """Signed positions by symbol, in units, from the platform's own executions."""
        return self._positions.quantities

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        self._ts_ns = ts_ns
        self._reports.begin(ts_ns)
        if records:
            self._positions.apply_corporate_actions(records)
        for record in records:
            kind = type(record)
            if kind is Bar or kind is Quote:
                self._apply_market_data(record)  # type: ignore[arg-type]
            elif isinstance(record, BrokerUpdate):
                self._apply_update(record)
            elif isinstance(record, Order):
                self._accept_order(record)
            elif isinstance(record, OrderCancel):
                self._cancel(record.order_id, record.reason)
            elif isinstance(record, RiskFence):
                self._apply_fence(record)
            elif isinstance(record, BrokerAccount):
                self._reconciliation.compare(record, self._expected_positions(), self._expected_orders())
        if self._orders:
            self._cancel_expired()
            self._send_ready_legs()
        self._publish_status()
        return self._reports.out

    # -- incoming records ----------------------------------------------------------------------------------------------

    def _apply_market_data(self, market_data: Bar | Quote) -> None:
        """Update prices and sessions, and trigger the stops that the gateway watches."""
        if type(market_data) is Bar:
            previous = self._market.get(market_data.symbol)
            self._market[market_data.symbol] = (
                to_decimal(market_data.close),
                market_data.session,
                market_data.trading_day,
            )
            self._may_proceed |= previous is None or previous[1:] != (market_data.session, market_data.trading_day)
        if not self._orders:
            return
        for order in self._orders.values():
            if order.stop_watched and order.terms.symbol == market_data.symbol and update_stop(order, market_data):
                order.stop_watched, order.stop_triggered, self._may_proceed = False, True, True

    def _accept_order(self, order: Order) -> None:
        gateway_order = GatewayOrder(order)
        rejection = self._rejection_reason(order)
        if rejection:
            self._reports.write_ended(gateway_order, REJECTED, rejection)
            return
        self._orders[order.order_id] = gateway_order
        if order.replaces:
            replaced = self._orders[order.replaces]
            replaced.replaced_by, gateway_order.waits_for_order = order.order_id, order.replaces
            gateway_order.note_emulation(AMEND_EMULATED)
            self._request_cancel(replaced, f"replaced by {order.order_id}")
        if order.parent_id:
            gateway_order.waits_for_parent = True
            gateway_order.note_emulation(OTO_EMULATED)
        if order.group_id:
            gateway_order.note_emulation(OCO_EMULATED)
        if order.reduce_only:
            gateway_order.note_emulation(REDUCE_EMULATED)
        if needs_stop_watch(gateway_order, self.settings.instruments.get(order.symbol), self.settings):
            gateway_order.stop_watched = True
            gateway_order.note_emulation(STOP_EMULATED)
        self._may_proceed = True
        if gateway_order.waits_for_parent or gateway_order.stop_watched or gateway_order.waits_for_order:
            self._reports.write_accepted(gateway_order)

    def _rejection_reason(self, order: Order) -> str:
        if order.risk_epoch < self._epoch:
            return f"risk epoch {order.risk_epoch} is older than the current risk epoch {self._epoch}"
        if self._fence_state == HALTED:
            return f"trading has been halted since risk epoch {self._epoch}"
        if order.replaces and order.replaces not in self._orders:
            return f"order to replace is not open: {order.replaces}"
        if order.parent_id and not any(other.terms.cause_id == order.parent_id for other in self._orders.values()):
            return f"parent order is not open: {order.parent_id}"
        return ""

    def _apply_fence(self, fence: RiskFence) -> None:
        self._epoch, self._fence_state = max(self._epoch, fence.epoch), fence.state
        if fence.state not in (HALTED, REDUCING):
            return
        for order in list(self._orders.values()):
            if fence.state == HALTED or not self._reduces(order):
                reason = f"{fence.state.lower()} by risk epoch {fence.epoch}: {fence.reason}"
                self._cancel(order.terms.order_id, reason)

    def _reduces(self, order: GatewayOrder) -> bool:
        return order.terms.reduce_only or order.leaves <= self._closable(order)

    def _closable(self, order: GatewayOrder) -> Decimal:
        position = self._positions.quantity_of(order.terms.symbol)
        return max(ZERO, -position if order.buying else position)

    def _apply_update(self, update: BrokerUpdate) -> None:
        client_order_id, event = update.client_order_id, update.event
        if event == CONNECTED:
            self._reconciliation.connect()
            return
        if event == DISCONNECTED:
            self._reconciliation.disconnect(update.text)
            return
        if event == UNKNOWN:
            if client_order_id in self._legs:
                self._reconciliation.mark_uncertain(client_order_id, update.text)
            return
        self._reconciliation.mark_certain(client_order_id)
        order = self._orders.get(self._legs.get(client_order_id, ""))
        if order is None or order.leg is None:
            self._apply_late_fill(update)
            return
        leg = order.leg
        if not leg.accepted and event not in (REJECTED, PENDING) and update.text != "rejected":
            leg.accepted = True
            if order.state is OrderState.SUBMITTED:
                self._reports.write_accepted(order)
        fill = leg.apply_report(event, update.quantity, update.price, update.cum_quantity)
        if fill is not None:
            self._book_fill(order, fill, update.happened_ns)
        end_type = (
            event if event in END_EVENTS else _EXEC_TYPE_OF_STATUS.get(update.text) if event == ORDER_TOTAL else None
        )
        if end_type is not None:
            leg.ending = LegEnd(end_type, update.cum_quantity, update.text)
        if leg.ended and order.leg is leg:
            self._end_leg(order, leg)

    def _apply_late_fill(self, update: BrokerUpdate) -> None:
        """Book a fill that arrives after its order has ended."""
        amounts = (update.quantity, update.price, update.cum_quantity)
        late_fill = self._ended.match_late_fill(update.event, update.client_order_id, *amounts)
        if late_fill is None:
            return
        self._positions.add(
            late_fill.symbol, late_fill.fill.quantity if late_fill.side == BUY else -late_fill.fill.quantity
        )
        order_fields = (late_fill.order_id, late_fill.symbol, late_fill.side, TRADE)
        fill_amounts = (late_fill.fill.quantity, late_fill.fill.price, ZERO, ZERO, late_fill.cum_quantity)
        text = "late fill: reported after the order had ended"
        self._reports.write_execution(order_fields, fill_amounts, update.happened_ns, text, late_fill.cause_id)

    # -- order life cycle ----------------------------------------------------------------------------------------------

    def _book_fill(self, order: GatewayOrder, fill: Fill, happened_ns: int) -> None:
        terms = order.terms
        order.cum_quantity += fill.quantity
        signed_quantity = fill.quantity if order.buying else -fill.quantity
        self._positions.add(terms.symbol, signed_quantity)
        self._reports.write_fill(order, fill, happened_ns, self.settings.instruments.get(terms.symbol))
        is_open = order.leaves > 0
        self._may_proceed = True
        for other in list(self._orders.values()):
            if terms.group_id and other.terms.group_id == terms.group_id and other is not order:
                self._cancel(other.terms.order_id, f"OCO: {terms.order_id} of group {terms.group_id} traded")
            elif not is_open and other.waits_for_parent and other.terms.parent_id == terms.cause_id:
                other.waits_for_parent = False

    def _end_leg(self, order: GatewayOrder, leg: Leg) -> None:
        """End a leg. The order ends too, or continues with its next leg."""
        self._legs.pop(leg.client_order_id)
        self._ended.add(order, leg)
        order.leg, self._may_proceed = None, True
        filled = leg.cum_quantity >= leg.quantity
        # A stop order with a fill was triggered. Its remaining quantity continues without a stop.
        order.stop_triggered |= order.has_stop and leg.cum_quantity > 0
        if not order.leaves:
            self._remove_order(order)
        elif order.end_reason:
            self._end_order(order, CANCELED, order.end_reason)
        elif not filled:
            assert leg.ending is not None, f"{leg.client_order_id}: leg ended without a report from the broker"
            exec_type = CANCELED if leg.ending.exec_type == REPLACED else leg.ending.exec_type
            if exec_type == REJECTED and order.cum_quantity:
                # An order with a fill cannot be rejected. Only its next leg was rejected.
                exec_type = CANCELED
            self._end_order(order, exec_type, leg.ending.text)

    def _cancel(self, order_id: str, reason: str) -> None:
        """Cancel an open order. A cancel for an order that has ended is ignored."""
        order = self._orders.get(order_id)
        if order is not None:
            self._request_cancel(order, reason)

    def _request_cancel(self, order: GatewayOrder, reason: str) -> None:
        order.end_reason = order.end_reason or reason
        leg = order.leg
        if leg is None:
            self._end_order(order, CANCELED, order.end_reason)
        elif not leg.cancel_requested:
            leg.cancel_requested = True
            if order.state is not OrderState.APPROVED:
                order.state = next_state(order.state, OrderEvent.REQUEST_CANCEL, order_id=order.terms.order_id)
            self._reports.write_intent(CANCEL, order, leg)

    def _end_order(self, order: GatewayOrder, exec_type: str, text: str) -> None:
        replaced = order.replaced_by in self._orders and exec_type == CANCELED
        self._reports.write_ended(order, REPLACED if replaced else exec_type, text)
        self._remove_order(order)

    def _remove_order(self, order: GatewayOrder) -> None:
        """Remove an order. The orders that wait for it proceed, or end too."""
        terms = self._orders.pop(order.terms.order_id).terms
        self._may_proceed = True
        for other in list(self._orders.values()):
            if other.terms.order_id not in self._orders:
                continue  # already ended in this loop
            if other.waits_for_order == terms.order_id:
                other.waits_for_order = ""
                other.cum_quantity = order.cum_quantity
                if other.leaves <= 0 or order.state is not OrderState.REPLACED:
                    reason = f"{terms.order_id} had already ended with {plain(order.cum_quantity)} units filled"
                    other.cum_quantity = ZERO
                    self._end_order(other, CANCELED, reason)
            elif other.waits_for_parent and other.terms.parent_id == terms.cause_id:
                if order.replaced_by in self._orders:
                    successor = self._orders[order.replaced_by].terms.cause_id
                    other.terms = other.terms._replace(parent_id=successor)
                elif order.leaves:
                    self._end_order(other, CANCELED, f"parent order {terms.order_id} ended")

    # -- legs ----------------------------------------------------------------------------------------------------------

    def _cancel_expired(self) -> None:
        for order in list(self._orders.values()):
            terms = order.terms
            day = self._market.get(terms.symbol, (ZERO, "", 0))[2]
            order.first_day = order.first_day or day
            enforced_here = order.leg is None or is_crypto(self.settings.instruments.get(terms.symbol))
            if terms.expires_ns is not None and self._ts_ns >= terms.expires_ns:
                self._cancel(terms.order_id, f"good-till date reached: {terms.expires_ns}")
            elif enforced_here and terms.time_in_force == DAY and day > order.first_day:
                self._cancel(terms.order_id, f"day order expired after trading day {order.first_day}")

    def _send_ready_legs(self) -> None:
        """Send the next leg of every ready order. Repeat while a pass makes further orders ready."""
        while self._may_proceed:
            self._may_proceed = False
            for order in list(self._orders.values()):
                ready = order.leg is None and not (
                    order.waits_for_parent or order.waits_for_order or order.stop_watched
                )
                if ready and order.terms.order_id in self._orders:
                    self._send_leg(order)

    def _send_leg(self, order: GatewayOrder) -> None:
        terms, settings = order.terms, self.settings
        instrument = settings.instruments.get(terms.symbol)
        quantity = self._next_quantity(order)
        if quantity is None:
            return
        if quantity <= 0:
            self._end_order(order, CANCELED, "reduce-only: no position to close")
            return
        last_price, session, _ = self._market.get(terms.symbol, (None, REGULAR, 0))
        opens_short = not order.buying and not self._positions.quantity_of(terms.symbol) > 0
        if opens_short and (is_crypto(instrument) or quantity != whole_units(quantity)):
            reason = "the broker accepts short sales of whole shares only"
            self._end_order(order, CANCELED if order.cum_quantity else REJECTED, reason)
            return
        broker_terms = to_broker_terms(order, instrument, settings, session, last_price)
        if isinstance(broker_terms, str):
            self._end_order(order, CANCELED if order.cum_quantity else REJECTED, broker_terms)
            return
        order.legs += 1
        client_order_id = terms.order_id if order.legs == 1 else f"{terms.order_id}.{order.legs}"
        order.leg = Leg(client_order_id, quantity)
        self._legs[client_order_id] = terms.order_id
        if order.state is OrderState.APPROVED:
            order.state = next_state(order.state, OrderEvent.SUBMIT, order_id=terms.order_id)
        self._reports.write_intent(SUBMIT, order, order.leg, broker_terms)

    def _next_quantity(self, order: GatewayOrder) -> Decimal | None:
        """Return the quantity that can be sent now; None if other orders of the symbol must end first."""
        closable, quantity = self._closable(order), order.leaves
        same_symbol = (o for o in self._orders.values() if o is not order and o.terms.symbol == order.terms.symbol)
        committed = sum(
            (o.leg.quantity - o.leg.cum_quantity for o in same_symbol if o.leg and o.buying == order.buying), ZERO
        )
        if order.terms.reduce_only:
            quantity = min(quantity, closable)
        if not closable or quantity <= closable - committed:
            return quantity
        order.note_emulation(SPLIT_EMULATED)
        return closable - committed if closable > committed else None

    # -- reconciliation ------------------------------------------------------------------------------------------------

    def _expected_positions(self) -> dict[str, Decimal]:
        """The expected positions on the broker's account: own positions plus `foreign_positions`."""
        expected = dict(self._positions.quantities)
        for symbol, foreign in self.settings.foreign_positions.items():
            expected[symbol] = expected.get(symbol, ZERO) + foreign
        return {symbol: quantity for symbol, quantity in expected.items() if quantity}

    def _expected_orders(self) -> dict[str, bool]:
        """The expected orders at the broker: True if acknowledged and open, False if in transit or about to end."""
        legs = [order.leg for order in self._orders.values() if order.leg is not None]
        return {leg.client_order_id: leg.accepted and leg.ending is None and not leg.cancel_requested for leg in legs}

    def _publish_status(self) -> None:
        status = self._reconciliation.status()
        if status != self._status:
            self._status = status
            self._reports.write_status(status[0], self.settings.broker, status[1])

    # -- recovery ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        counts = (self._reports.snapshot(), self._epoch, self._fence_state, self._status, self._may_proceed)
        orders = [order.as_tuple() for order in self._orders.values()]
        parts = (self._positions.snapshot(), self._reconciliation.snapshot())
        return (SNAPSHOT_VERSION, counts, orders, self._ended.snapshot(), dict(self._market), *parts)

    def restore(self, snapshot: Any) -> None:
        version, *state = snapshot
        assert version == SNAPSHOT_VERSION, f"gateway snapshot: version {version}, expected {SNAPSHOT_VERSION}"
        counts, orders, ended_legs, market, positions, reconciliation = state
        reports, self._epoch, self._fence_state, self._status, self._may_proceed = counts
        self._reports.restore(reports)
        restored = [GatewayOrder.from_tuple(values) for values in orders]
        self._orders = {order.terms.order_id: order for order in restored}
        self._legs = {order.leg.client_order_id: order.terms.order_id for order in restored if order.leg is not None}
        self._market = dict(market)
        self._ended.restore(ended_legs)
        self._positions.restore(positions)
        self._reconciliation.restore(reconciliation)
