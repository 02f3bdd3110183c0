"""The gateway stage: decide what to send to the broker, and interpret its reports.

`dataflows/broker/` sends the requests. Sources: FIX 4.4 (ExecutionReport), Alpaca's order life cycle and trade updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from operators.adjustments import SYMBOL
from operators.gateway.acceptance import PositionAcceptance
from operators.gateway.activities import GatewayCash
from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.leg import LegEnd
from operators.gateway.leg_sender import LegMarket, LegSender
from operators.gateway.order_book import GatewayOrderBook
from operators.gateway.reconciliation import BrokerReconciliation
from operators.gateway.reports import END_EVENTS, GatewayReports
from operators.gateway.settings import GatewaySettings
from operators.gateway.stop_trigger import reached_stops
from operators.gateway.translation import (
    AMEND_EMULATED,
    OCO_EMULATED,
    OTO_EMULATED,
    REDUCE_EMULATED,
    STOP_EMULATED,
    needs_stop_watch,
)
from operators.kill_switch import halt_text, halts_at_once
from operators.ledger.events import share_ratio
from operators.manual_orders import without_nul
from operators.money import ONE, ZERO, to_decimal
from operators.order_lifecycle import OrderState
from operators.reference_data import describe_action
from operators.venue.amendments import spent_stop_reason
from schemas.errors import BadInput
from schemas.records import (
    ACCEPT_POSITION,
    CANCELED,
    CASH_DIVIDEND,
    CONNECTED,
    DISCONNECTED,
    EXPIRED,
    HALTED,
    ORDER_TOTAL,
    PENDING,
    REDUCING,
    REJECTED,
    REPLACED,
    UNKNOWN,
    Bar,
    BrokerAccount,
    BrokerActivity,
    BrokerUpdate,
    Command,
    CorporateAction,
    ExecType,
    GatewayState,
    Order,
    OrderCancel,
    Quote,
    Record,
    RiskFence,
    TradingState,
    Valuation,
)

SNAPSHOT_VERSION = 4
_EXEC_TYPE_OF_STATUS: dict[str, ExecType] = {
    "canceled": CANCELED,
    "expired": EXPIRED,
    "rejected": REJECTED,
    "replaced": REPLACED,
}


class GatewayStage:
    """The logic of the broker gateway.

    Inputs: orders, cancels, fences and valuations (of the previous time slice), commands, quotes, reference data, the
    broker's updates, account snapshots and activities, and bars. Outputs: `OrderIntent`, and `Execution`,
    `GatewayStatus` and `CashTransfer` with a common `seq`.

    The gateway works an order as a sequence of orders at the broker (*legs*), one at a time. A leg ends when the broker
    has reported its end and every fill up to the reported quantity is known. An order with an unknown status is never
    treated as rejected.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self._cash = GatewayCash(settings)
        self._reports = GatewayReports(self._cash)
        self._epoch = 0
        self._fence_state: TradingState | Literal[""] = ""
        self._market: dict[str, LegMarket] = {}
        self._book = GatewayOrderBook(settings, self._reports)
        self._sender = LegSender(settings, self._book, self._reports, self._market)
        self._reconciliation = BrokerReconciliation()
        self._acceptance = PositionAcceptance(settings.approvals)
        self._status: tuple[GatewayState | Literal[""], str] = ("", "")
        self._emulated_stops: list[str] = []  # as last reported

    @property
    def positions(self) -> Mapping[str, Decimal]:
        """Signed positions by symbol, in units, from the platform's own executions."""
        return self._book.positions.quantities

    @property
    def open_orders(self) -> Mapping[str, GatewayOrder]:
        """The orders that have not ended, by order_id, in the order of approval. Read-only."""
        return self._book.orders

    @property
    def open_order_ids(self) -> list[str]:
        """The ids of the orders that have not ended."""
        return list(self._book.orders)

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        self._reports.begin(ts_ns)
        if records:
            before = self._book.positions.quantities
            for action in self._book.positions.apply_corporate_actions(records):
                self._adjust_orders(action)
                for symbol in (action.symbol, action.new_symbol):
                    self._book.end_exits_of_closed(symbol, before.get(symbol, ZERO))
        for record in records:
            if type(record) is Quote or type(record) is Bar:
                self._apply_market_data(record)
            elif isinstance(record, BrokerUpdate):
                self._apply_update(record)
            elif isinstance(record, Order):
                self._accept_order(record)
            elif isinstance(record, OrderCancel):
                self._book.cancel(record.order_id, record.reason)
            elif isinstance(record, RiskFence):
                self._apply_fence(record)
            elif isinstance(record, Command):
                self._apply_command(record)
            elif isinstance(record, BrokerActivity):
                self._reports.write_transfer(record)
            elif isinstance(record, BrokerAccount):
                cash = self._cash.compare(record)
                self._reconciliation.compare(record, self._expected_positions(), self._expected_orders(), cash)
            elif isinstance(record, Valuation):
                self._cash.record_books(record)
        if self._book.orders:
            self._sender.cancel_expired(ts_ns)
            self._sender.send_ready_legs()
        self._publish_status()
        return self._reports.out

    def next_timer_ns(self) -> int | None:
        """Return the first good-till date of an order that the gateway has not cancelled yet."""
        orders = (order for order in self._book.orders.values() if not order.end_reason)
        return min((at_ns for order in orders if (at_ns := order.terms.expires_ns) is not None), default=None)

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
            self._book.may_proceed |= previous is None or previous[1:] != (market_data.session, market_data.trading_day)
        if not self._book.orders:
            return
        watched = [
            order
            for order in self._book.orders.values()
            if (order.stop_watched or order.stop_held)
            and order.terms.symbol == market_data.symbol
            and not self._book.waits_for_first_fill(order)
        ]
        for order in reached_stops(watched, market_data):
            if order.order_id in self._book.orders and not order.end_reason:  # no stop of its group came first
                self._trigger_stop(order)

    def _trigger_stop(self, order: GatewayOrder) -> None:
        order.stop_watched = order.stop_held = False
        order.stop_triggered, self._book.may_proceed = True, True
        # The others of its group hold the units that it closes, and its entry would buy more of them.
        for other in self._book.others_of_group(order):
            self._book.cancel(other.order_id, f"OCO: the stop of {order.order_id} was triggered")
        parent = self._book.parent_of(order) if order.waits_for_parent else None
        if parent is not None:
            self._book.cancel(parent.order_id, f"the stop of its exit {order.order_id} was triggered")

    def _apply_command(self, command: Command) -> None:
        """Cancel all orders for a kill switch, take over a position, or write the transfer of a cash command."""
        if halts_at_once(command):
            for order_id in list(self._book.orders):
                self._book.cancel(order_id, halt_text(command))
        if command.kind == ACCEPT_POSITION:
            self._accept_position(without_nul(command))
        self._reports.write_transfer(command)

    def _adjust_orders(self, action: CorporateAction) -> None:
        """Convert the orders that only the gateway holds, such as emulated stops, to new shares at a split.

        The broker converts or cancels its own orders, and reports it. Any other action except a cash dividend cancels
        all orders of the symbol, as at the simulated venue (`docs/decisions/0013-orders-at-a-distribution.md`).
        """
        if action.kind == CASH_DIVIDEND:
            return
        ratio, symbol = share_ratio(action), action.symbol
        for order in [one for one in self._book.orders.values() if one.terms.symbol == symbol]:
            if ratio == ONE:
                self._book.cancel(order.order_id, describe_action(action))
            elif order.leg is None:
                order.split(ratio, self.settings.instruments.lot_size_of(symbol))
                if not order.remaining:
                    self._book.end_order(order, CANCELED, describe_action(action))

    def _accept_order(self, order: Order) -> None:
        gateway_order, terms = GatewayOrder(order), order.terms
        rejection = self._rejection_reason(order)
        if rejection:
            self._reports.write_ended(gateway_order, REJECTED, rejection)
            return
        replaced = self._book.open_order_of(order.replaces) if order.replaces else None
        self._book.orders[order.order_id] = gateway_order
        if replaced is not None:
            # A successor that has not been sent yet waits for an older order, which may still work at the broker.
            working = self._book.orders.get(replaced.waits_for_order, replaced)
            replaced.replaced_by = working.replaced_by = order.order_id
            gateway_order.waits_for_order = working.order_id
            gateway_order.stop_triggered, gateway_order.best_price = replaced.stop_triggered, replaced.best_price
            gateway_order.note_emulation(AMEND_EMULATED)
            self._book.request_cancel(replaced, f"replaced by {order.order_id}")
            # An amended exit waits only if the old one did, for the entry that is open now.
            parent_id, gateway_order.waits_for_parent = replaced.terms.parent_id, replaced.waits_for_parent
            gateway_order.stop_held = replaced.stop_held and replaced.waits_for_parent
            gateway_order.order = order._replace(terms=terms._replace(parent_id=parent_id))
        else:
            gateway_order.waits_for_parent = bool(terms.parent_id)
        if gateway_order.waits_for_parent:
            gateway_order.note_emulation(OTO_EMULATED)
        if terms.group_id:
            gateway_order.note_emulation(OCO_EMULATED)
        if terms.reduce_only:
            gateway_order.note_emulation(REDUCE_EMULATED)
        if needs_stop_watch(gateway_order, self.settings.instruments.get(terms.symbol), self.settings):
            gateway_order.stop_watched = True
            gateway_order.note_emulation(STOP_EMULATED)
        self._book.may_proceed = True
        if gateway_order.waits_for_parent or gateway_order.stop_watched or gateway_order.waits_for_order:
            self._reports.write_accepted(gateway_order)

    def _rejection_reason(self, order: Order) -> str:
        if order.risk_epoch < self._epoch:
            return f"risk epoch {order.risk_epoch} is older than the current risk epoch {self._epoch}"
        if self._fence_state == HALTED:
            return f"trading has been halted since risk epoch {self._epoch}"
        replaced = self._book.open_order_of(order.replaces) if order.replaces else None
        if order.replaces and replaced is None:
            return f"order to replace is not open: {order.replaces}"
        if replaced is not None and replaced.stop_triggered:
            reason = spent_stop_reason(replaced.order_id, replaced.terms, order.terms)
            if reason:
                return reason
        parent_id = order.terms.parent_id
        if parent_id and not order.replaces and self._book.order_of_cause(parent_id) is None:
            return f"parent order is not open: {parent_id}"
        return ""

    def _apply_fence(self, fence: RiskFence) -> None:
        self._epoch, self._fence_state = max(self._epoch, fence.epoch), fence.state
        if fence.state not in (HALTED, REDUCING):
            return
        for order in list(self._book.orders.values()):
            if fence.state == HALTED or not self._reduces(order):
                reason = f"{fence.state.lower()} by risk epoch {fence.epoch}: {fence.reason}"
                self._book.cancel(order.order_id, reason)

    def _reduces(self, order: GatewayOrder) -> bool:
        return order.terms.reduce_only or order.remaining <= self._book.closable(order)

    def _apply_update(self, update: BrokerUpdate) -> None:
        client_order_id, event = update.client_order_id, update.event
        if event == CONNECTED:
            self._reconciliation.connect()
            return
        if event == DISCONNECTED:
            self._reconciliation.disconnect(update.text)
            return
        if event == UNKNOWN:
            if client_order_id in self._book.legs:
                self._reconciliation.set_uncertain(client_order_id, update.text)
            return
        self._reconciliation.clear_uncertain(client_order_id)
        order = self._book.orders.get(self._book.legs.get(client_order_id, ""))
        if order is None or order.leg is None:
            self._book.book_late_fill(update)
            return
        leg = order.leg
        if not leg.accepted and event not in (REJECTED, PENDING) and update.text != "rejected":
            leg.accepted = True
            if order.state is OrderState.SUBMITTED:
                self._reports.write_accepted(order)
        fill = leg.apply_report(event, update.quantity, update.price, update.cum_quantity)
        if fill is not None:
            self._book.book_fill(order, fill, update.happened_ns)
        end_type = (
            event if event in END_EVENTS else _EXEC_TYPE_OF_STATUS.get(update.text) if event == ORDER_TOTAL else None
        )
        if end_type is not None:
            leg.ending = LegEnd(end_type, update.cum_quantity, update.text)
        if leg.ended and order.leg is leg:
            self._book.end_leg(order, leg)

    # -- reconciliation ------------------------------------------------------------------------------------------------

    def _expected_positions(self) -> dict[str, Decimal]:
        """The expected positions on the broker's account: own positions plus `foreign_positions`."""
        expected = dict(self._book.positions.quantities)
        for symbol, foreign in self.settings.foreign_positions.items():
            expected[symbol] = expected.get(symbol, ZERO) + foreign
        return {symbol: quantity for symbol, quantity in expected.items() if quantity}

    def _expected_orders(self) -> dict[str, bool]:
        """The expected orders at the broker: True if acknowledged and open, False if in transit or about to end.

        The broker names an attached stop itself, so the account snapshot does not list it under its id here.
        """
        legs = [order.leg for order in self._book.orders.values() if order.leg is not None]
        return {
            leg.client_order_id: leg.accepted
            and leg.ending is None
            and not (leg.cancel_requested or leg.resume or leg.attached)
            for leg in legs
        }

    def _accept_position(self, command: Command) -> None:
        """Take over the broker's position of a symbol, or report why not. A duplicate is ignored.

        The gateway stays unreconciled until the next account snapshot matches.
        """
        if not self._acceptance.is_new(command):
            return
        symbol = command.arguments.get(SYMBOL, "")
        expected = self._expected_positions().get(symbol, ZERO)
        try:
            difference = self._acceptance.check(command, expected, self._reconciliation, self._book.orders.values())
        except BadInput as error:
            self._reports.write_refused_adjustment(command, symbol[:64], str(error))
            return
        self._reports.write_adjustment(command, difference)
        self._book.change_position(symbol, difference.change)
        self._book.may_proceed = True

    def _publish_status(self) -> None:
        status = self._reconciliation.status()
        emulated_stops = [order.order_id for order in self._book.orders.values() if order.has_emulated_stop]
        if status != self._status or emulated_stops != self._emulated_stops:
            self._status, self._emulated_stops = status, emulated_stops
            self._reports.write_status(status[0], self.settings.broker, status[1], emulated_stops)

    # -- recovery ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        counts = (self._reports.snapshot(), self._epoch, self._fence_state, self._status, self._book.may_proceed)
        orders = [order.as_tuple() for order in self._book.orders.values()]
        acceptance = (self._acceptance.snapshot(), list(self._emulated_stops))
        parts = (self._book.positions.snapshot(), self._reconciliation.snapshot(), self._cash.snapshot(), *acceptance)
        return (SNAPSHOT_VERSION, counts, orders, self._book.ended.snapshot(), dict(self._market), *parts)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Version 1 contains no cash, versions 1 and 2 neither accepted positions nor emulated
        stops, versions 1 to 3 no `active_ns` of the orders.
        """
        version, *state = snapshot
        assert version in (1, 2, 3, SNAPSHOT_VERSION), f"gateway snapshot: version {version}, expected 1 to 4"
        if version == 1:
            state.append(self._cash.snapshot())
        counts, orders, ended_legs, market, positions, reconciliation, cash, *rest = state
        reports, self._epoch, self._fence_state, self._status, self._book.may_proceed = counts
        self._reports.restore(reports)
        restored = [GatewayOrder.from_tuple(values) for values in orders]
        self._book.orders = {order.order_id: order for order in restored}
        self._book.legs = {order.leg.client_order_id: order.order_id for order in restored if order.leg is not None}
        self._market.clear()
        self._market.update(market)
        self._book.ended.restore(ended_legs)
        self._book.positions.restore(positions)
        self._reconciliation.restore(reconciliation)
        self._cash.restore(cash)
        acceptance, emulated_stops = rest or ([], [])
        self._acceptance.restore(acceptance)
        self._emulated_stops = list(emulated_stops)
