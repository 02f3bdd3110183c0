"""The open orders of the gateway: how fills, ended legs and cancels change them and the orders that depend on them."""

from __future__ import annotations

from collections.abc import Container
from decimal import Decimal

from operators.gateway.ended_legs import EndedLegs
from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.leg import Leg, LegFill
from operators.gateway.positions import GatewayPositions
from operators.gateway.reports import GatewayReports
from operators.gateway.settings import GatewaySettings
from operators.gateway.translation import FRACTION_EMULATED, PARTIAL_STOP_EMULATED, PASSED_STOP_EMULATED, is_passed_stop
from operators.money import ZERO, plain
from operators.order_lifecycle import OrderEvent, OrderState, next_state
from operators.venue.reduce_only import POSITION_CLOSED, closable_units, loses_position
from schemas.records import (
    BUY,
    CANCEL,
    CANCELED,
    EXPIRED,
    REJECTED,
    REPLACED,
    BrokerUpdate,
    ExecType,
)


class GatewayOrderBook:
    """The orders that have not ended, with their legs at the broker and the positions from their fills.

    orders       open orders by order_id, in the order of approval
    legs         client_order_id -> order_id of the legs at the broker
    ended        legs that have ended, for fills that arrive late
    may_proceed  whether a waiting order may be able to proceed, because something changed
    """

    def __init__(self, settings: GatewaySettings, reports: GatewayReports) -> None:
        self._settings, self._reports = settings, reports
        self.orders: dict[str, GatewayOrder] = {}
        self.legs: dict[str, str] = {}
        self.ended = EndedLegs()
        self.positions = GatewayPositions()
        self.may_proceed = False

    def closable(self, order: GatewayOrder) -> Decimal:
        return closable_units(self.positions.quantity_of(order.terms.symbol), order.terms.side)

    def change_position(self, symbol: str, signed_quantity: Decimal) -> None:
        """Book a change that is not a fill of an open order, and end the exits of a position that it closes."""
        before = self.positions.quantity_of(symbol)
        self.positions.add(symbol, signed_quantity)
        self.end_exits_of_closed(symbol, before)

    def end_exits_of_closed(self, symbol: str, before: Decimal, new_exits: Container[str] = ()) -> None:
        """Cancel the reduce-only orders that have nothing to close, if they had at the position `before` or are new.

        Orders that wait for their parent remain, as at the simulated venue: the parent may open a position.
        """
        after = self.positions.quantity_of(symbol)
        for order in list(self.orders.values()):
            terms = order.terms
            if terms.symbol != symbol or not terms.reduce_only or order.waits_for_parent or order.end_reason:
                continue
            if closable_units(after, terms.side) or (order.leg is not None and order.leg.ended):
                continue
            if loses_position(terms.side, before, after) or order.order_id in new_exits:
                self.cancel(order.order_id, POSITION_CLOSED)

    def book_late_fill(self, update: BrokerUpdate) -> None:
        """Book a fill that arrives after its order has ended."""
        amounts = (update.quantity, update.price, update.cum_quantity)
        late_fill = self.ended.match_late_fill(update.event, update.client_order_id, *amounts)
        if late_fill is None:
            return
        self._reports.write_late_fill(late_fill, update.happened_ns)
        quantity = late_fill.fill.quantity
        self.change_position(late_fill.symbol, quantity if late_fill.side == BUY else -quantity)

    def book_fill(self, order: GatewayOrder, fill: LegFill, happened_ns: int) -> None:
        terms = order.terms
        order.cum_quantity += fill.quantity
        signed_quantity = fill.quantity if order.buying else -fill.quantity
        before = self.positions.quantity_of(terms.symbol)
        self.positions.add(terms.symbol, signed_quantity)
        self._reports.write_fill(order, fill, happened_ns, self._settings.instruments.get(terms.symbol))
        self.may_proceed = True
        self._reduce_group(order, fill.quantity)
        new_exits: list[str] = []
        for other in list(self.orders.values()):
            if other.waits_for_parent and other.terms.parent_id == order.cause_id:
                self._apply_parent_fill(order, other, happened_ns)
                new_exits.append(other.order_id)
        self.end_exits_of_closed(terms.symbol, before, new_exits)

    def _reduce_group(self, order: GatewayOrder, traded: Decimal) -> None:
        """Reduce the other orders of an OCO group by the traded quantity, as Alpaca and the simulated venue do.

        They are cancelled if the order is filled, if nothing is left of them, if they are on the other side, or if they
        work at the broker outside of its OCO order, because the broker cannot reduce them.
        """
        for other in self.others_of_group(order):
            linked_leg = other.leg if other.leg is not None and other.leg.linked_to == order.order_id else None
            rest_remains = order.remaining > 0 and other.buying is order.buying and other.remaining > traded
            if linked_leg is not None and (rest_remains or linked_leg.cum_quantity):
                linked_leg.quantity -= traded  # the broker has reduced it
            if rest_remains and (linked_leg is not None or other.leg is None):
                other.reduce(traded)
            elif not (rest_remains and other.end_reason):
                self.cancel(other.order_id, f"OCO: {order.order_id} of group {order.terms.group_id} traded")

    def _apply_parent_fill(self, parent: GatewayOrder, child: GatewayOrder, happened_ns: int) -> None:
        """Release an order once its parent is filled. Until then, the gateway watches its stop.

        The broker rejects an exit while its entry works, because the two could trade with each other.
        """
        child.active_ns = max(child.active_ns, happened_ns)
        if not parent.remaining:
            child.waits_for_parent = False
            child.drop_emulation(PARTIAL_STOP_EMULATED)
        elif child.has_stop and not (child.stop_watched or child.stop_held or child.stop_triggered):
            child.stop_held = True
            child.note_emulation(PARTIAL_STOP_EMULATED)

    def others_of_group(self, order: GatewayOrder) -> list[GatewayOrder]:
        group_id = order.terms.group_id
        others = (one for one in self.orders.values() if one is not order and one.terms.group_id == group_id)
        return list(others) if group_id else []

    def order_of_cause(self, cause_id: str) -> GatewayOrder | None:
        return next((order for order in self.orders.values() if order.cause_id == cause_id), None)

    def parent_of(self, order: GatewayOrder) -> GatewayOrder | None:
        return self.order_of_cause(order.terms.parent_id)

    def waits_for_first_fill(self, order: GatewayOrder) -> bool:
        """Whether the parent of the order has no fill yet, so that there is nothing to close."""
        parent = self.parent_of(order) if order.waits_for_parent else None
        return parent is not None and not parent.cum_quantity

    def open_order_of(self, order_id: str) -> GatewayOrder | None:
        """Return the open order with this id, or the open order that replaces it."""
        order = self.orders.get(order_id)
        if order is None:
            order = next((one for one in self.orders.values() if one.order.replaces == order_id), None)
        while order is not None and order.replaced_by in self.orders:
            order = self.orders[order.replaced_by]
        return order

    def linked_order(self, order: GatewayOrder) -> GatewayOrder | None:
        """Return the other part of an OCO order that works at the broker."""
        linked = self.orders.get(order.leg.linked_to) if order.leg is not None else None
        is_linked = linked is not None and linked.leg is not None and linked.leg.linked_to == order.order_id
        return linked if is_linked else None

    def end_leg(self, order: GatewayOrder, leg: Leg) -> None:
        """End a leg. The order ends too, or continues with its next leg."""
        self.legs.pop(leg.client_order_id)
        self.ended.add(order, leg)
        order.leg, self.may_proceed = None, True
        filled = leg.cum_quantity >= leg.quantity
        # A stop order with a fill was triggered. Its remaining quantity continues without a stop.
        order.stop_triggered |= order.has_stop and leg.cum_quantity > 0
        if not order.remaining:
            self._remove_order(order)
        elif order.end_reason:
            self.end_order(order, CANCELED, order.end_reason)
        elif not filled:
            assert leg.ending is not None, f"{leg.client_order_id}: leg ended without a report from the broker"
            exec_type = CANCELED if leg.ending.exec_type == REPLACED else leg.ending.exec_type
            if leg.resume and exec_type == CANCELED:
                return  # the broker has cancelled it with the other part of its OCO order
            if exec_type == EXPIRED and FRACTION_EMULATED in order.emulations:
                return  # good till cancelled or till a date, sent for one day: its next leg is for the next one
            if (
                exec_type == REJECTED
                and order.has_stop
                and not order.stop_triggered
                and is_passed_stop(leg.ending.text)
            ):
                order.stop_triggered = True
                order.note_emulation(PASSED_STOP_EMULATED)
                return  # its next leg closes the position at the market
            if exec_type == REJECTED and order.cum_quantity:
                # An order with a fill cannot be rejected. Only its next leg was rejected.
                exec_type = CANCELED
            self.end_order(order, exec_type, leg.ending.text)

    def cancel(self, order_id: str, reason: str) -> None:
        """Cancel an open order and the one that replaces it. A cancel for an order that has ended is ignored."""
        order = self.open_order_of(order_id)
        if order is None:
            return
        replaced = self.orders.get(order.waits_for_order)
        if replaced is not None:
            replaced.end_reason = reason
        self.request_cancel(order, reason)

    def request_cancel(self, order: GatewayOrder, reason: str) -> None:
        order.end_reason = order.end_reason or reason
        leg = order.leg
        if leg is None:
            self.end_order(order, CANCELED, order.end_reason)
        elif not leg.cancel_requested:
            leg.cancel_requested = True
            linked = self.linked_order(order)
            if linked is not None and linked.leg is not None:
                linked.leg.resume = True
            if order.state is not OrderState.APPROVED:
                order.state = next_state(order.state, OrderEvent.REQUEST_CANCEL, order_id=order.order_id)
            self._reports.write_intent(CANCEL, order, leg)

    def end_order(self, order: GatewayOrder, exec_type: ExecType, text: str) -> None:
        replaced = order.replaced_by in self.orders and exec_type == CANCELED
        self._reports.write_ended(order, REPLACED if replaced else exec_type, text)
        self._remove_order(order)

    def _remove_order(self, order: GatewayOrder) -> None:
        """Remove an order. The orders that wait for it proceed, or end too."""
        del self.orders[order.order_id]
        self.may_proceed = True
        successor = self.orders.get(order.replaced_by)
        if successor is not None and (
            order.state is not OrderState.REPLACED or successor.terms.quantity <= order.cum_quantity
        ):
            successor = None  # it ends too, so the exits close what `order` has filled
        for other in list(self.orders.values()):
            if other.order_id not in self.orders:
                continue  # already ended in this loop
            if other.waits_for_order == order.order_id:
                other.waits_for_order = ""
                other.cum_quantity = order.cum_quantity
                if other.remaining <= 0 or order.state is not OrderState.REPLACED:
                    reason = f"{order.order_id} had already ended with {plain(order.cum_quantity)} units filled"
                    other.cum_quantity = ZERO
                    self.end_order(other, CANCELED, reason)
            elif other.waits_for_parent and other.terms.parent_id == order.cause_id:
                if successor is not None:
                    self._adopt_child(other, order, successor)
                elif order.cum_quantity and order.remaining:
                    # The exits of a partly filled entry close what was filled.
                    quantity = min(other.terms.quantity, order.cum_quantity)
                    other.order = other.order._replace(terms=other.terms._replace(quantity=quantity))
                    other.waits_for_parent = False
                    other.drop_emulation(PARTIAL_STOP_EMULATED)
                    if other.terms.reduce_only and not self.closable(other):
                        self.cancel(other.order_id, POSITION_CLOSED)
                elif order.remaining:
                    self.end_order(other, CANCELED, f"parent order {order.order_id} ended")

    def _adopt_child(self, child: GatewayOrder, replaced: GatewayOrder, successor: GatewayOrder) -> None:
        """Let an order that waits for a replaced order wait for its successor, as the simulated venue does.

        One for its full quantity, such as an exit of a bracket, follows an amended quantity.
        """
        terms = child.terms._replace(parent_id=successor.cause_id)
        if terms.quantity == replaced.terms.quantity:
            terms = terms._replace(quantity=successor.terms.quantity)
        child.order = child.order._replace(terms=terms)
