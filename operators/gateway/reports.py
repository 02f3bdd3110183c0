"""Build the gateway's output records: intents, execution reports and status, with one `seq` per topic."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.adjustments import PositionDifference, adjustment_id, adjustment_order_id, is_adjustment
from operators.gateway.activities import GatewayCash
from operators.gateway.ended_legs import LateFill
from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.leg import Leg, LegFill
from operators.gateway.translation import BrokerTerms
from operators.instruments import CRYPTO, Instrument
from operators.money import ZERO, multiply, quantize
from operators.order_lifecycle import OrderEvent, OrderState, next_state
from operators.venue.fees import total_fees
from operators.venue.settings import VenueSettings
from schemas.records import (
    BUY,
    CANCELED,
    EXPIRED,
    NEW,
    REJECTED,
    REPLACED,
    SELL,
    TRADE,
    BrokerActivity,
    Command,
    ExecType,
    Execution,
    GatewayState,
    GatewayStatus,
    IntentKind,
    OrderIntent,
    OrderTerms,
    Record,
    Side,
    execution_id,
)

END_EVENTS: dict[ExecType, OrderEvent] = {
    CANCELED: OrderEvent.CANCEL,
    REPLACED: OrderEvent.REPLACE,
    EXPIRED: OrderEvent.EXPIRE,
    REJECTED: OrderEvent.REJECT,
}
_EQUITY_FEES = VenueSettings(fee_model="alpaca_equity")
_CRYPTO_FEES = VenueSettings(fee_model="alpaca_crypto")


class GatewayReports:
    """Collect the output records of one time slice in `out`."""

    def __init__(self, cash: GatewayCash) -> None:
        """`cash` receives the fills and builds the transfers."""
        self._cash = cash
        self._seq = self._intent_seq = 0
        self._ts_ns = 0
        self.out: list[Record] = []

    def begin(self, ts_ns: int) -> None:
        self._ts_ns, self.out = ts_ns, []

    def write_intent(
        self,
        kind: IntentKind,
        order: GatewayOrder,
        leg: Leg,
        broker_terms: BrokerTerms | None = None,
        stop: GatewayOrder | None = None,
    ) -> None:
        """Record a request to the broker. With `stop`, the order is sent as an OCO order with this attached stop."""
        self._intent_seq += 1
        terms = order.terms
        sent_terms = broker_terms or BrokerTerms(
            order_type=terms.order_type,
            limit_price=None,
            stop_price=None,
            trail_amount=None,
            trail_percent=None,
            time_in_force=terms.time_in_force,
            extended_hours=False,
        )
        intent = OrderIntent(
            seq=self._intent_seq,
            ts_ns=self._ts_ns,
            intent_id=f"int-{self._intent_seq}",
            kind=kind,
            order_id=order.order_id,
            client_order_id=leg.client_order_id,
            terms=OrderTerms(
                symbol=terms.symbol,
                side=terms.side,
                quantity=leg.quantity,
                order_type=sent_terms.order_type,
                time_in_force=sent_terms.time_in_force,
                limit_price=sent_terms.limit_price,
                stop_price=sent_terms.stop_price,
                trail_amount=sent_terms.trail_amount,
                trail_percent=sent_terms.trail_percent,
            ),
            extended_hours=sent_terms.extended_hours,
            emulated=order.emulation_text,
            risk_epoch=order.order.risk_epoch,
            stop_client_order_id=stop.leg.client_order_id if stop is not None and stop.leg is not None else "",
            stop_loss_price=None if stop is None else stop.terms.stop_price,
            stop_loss_limit_price=None if stop is None else stop.terms.limit_price,
        )
        self.out.append(intent)

    def write_accepted(self, order: GatewayOrder) -> None:
        if order.state is OrderState.APPROVED:
            order.state = next_state(order.state, OrderEvent.SUBMIT, order_id=order.order_id)
        order.state = next_state(order.state, OrderEvent.ACCEPT, order_id=order.order_id)
        self._write_without_fill(order, NEW, order.emulation_text, max(ZERO, order.remaining))

    def write_ended(self, order: GatewayOrder, exec_type: ExecType, text: str) -> None:
        if exec_type == REPLACED and order.state is OrderState.APPROVED:
            order.state = next_state(order.state, OrderEvent.SUBMIT, order_id=order.order_id)
        order.state = next_state(order.state, END_EVENTS[exec_type], order_id=order.order_id)
        self._write_without_fill(order, exec_type, text, ZERO)

    def write_fill(self, order: GatewayOrder, fill: LegFill, happened_ns: int, instrument: Instrument | None) -> None:
        """Report a fill that `order.cum_quantity` already includes.

        The broker does not report fees with a fill, so they are computed from Alpaca's fee schedule. Every fill of a
        crypto order counts as taker.
        """
        terms, remaining = order.terms, max(ZERO, order.remaining)
        event = OrderEvent.PARTIAL_FILL if remaining else OrderEvent.FILL
        order.state = next_state(order.state, event, order_id=order.order_id)
        order.traded_value += multiply(fill.quantity, fill.price)
        schedule = _CRYPTO_FEES if instrument is not None and instrument.asset_class == CRYPTO else _EQUITY_FEES
        fees_due = total_fees(schedule, terms.side, order.cum_quantity, order.traded_value, order.traded_value)
        fee, order.fees = max(ZERO, fees_due - order.fees), max(fees_due, order.fees)
        self._cash.add_fill(fill.quantity if order.buying else -fill.quantity, quantize(fill.price), quantize(fee))
        text = "fill report is missing: price estimated from the order's average price" if fill.estimated else ""
        self._write_execution(
            order_id=order.order_id,
            symbol=terms.symbol,
            side=terms.side,
            exec_type=TRADE,
            fill=fill,
            fee=fee,
            remaining=remaining,
            cum_quantity=order.cum_quantity,
            happened_ns=happened_ns,
            text=text,
            cause_id=order.cause_id,
        )

    def write_late_fill(self, late_fill: LateFill, happened_ns: int) -> None:
        """Report a fill that arrived after its order had ended."""
        quantity, price = late_fill.fill.quantity, quantize(late_fill.fill.price)
        self._cash.add_fill(quantity if late_fill.side == BUY else -quantity, price, ZERO)
        self._write_execution(
            order_id=late_fill.order_id,
            symbol=late_fill.symbol,
            side=late_fill.side,
            exec_type=TRADE,
            fill=late_fill.fill,
            fee=ZERO,
            remaining=ZERO,
            cum_quantity=late_fill.cum_quantity,
            happened_ns=happened_ns,
            text="late fill: reported after the order had ended",
            cause_id=late_fill.cause_id,
        )

    def write_adjustment(self, command: Command, difference: PositionDifference) -> None:
        """Report a position that was taken over from the broker, as a trade without an order and without a fee."""
        quantity = abs(difference.change)
        self._cash.add_fill(difference.change, quantize(difference.price), ZERO)
        self._write_execution(
            order_id=adjustment_order_id(command.command_id),
            symbol=difference.symbol,
            side=BUY if difference.change > 0 else SELL,
            exec_type=TRADE,
            fill=LegFill(quantity, difference.price),
            fee=ZERO,
            remaining=ZERO,
            cum_quantity=quantity,
            happened_ns=self._ts_ns,
            text=f"adjustment: {command.actor} accepted the broker's position ({command.reason})",
            cause_id=command.command_id,
        )

    def write_refused_adjustment(self, command: Command, symbol: str, reason: str) -> None:
        """Report that a position was not taken over."""
        self._write_execution(
            order_id=adjustment_order_id(command.command_id),
            symbol=symbol,
            side=BUY,
            exec_type=REJECTED,
            fill=None,
            fee=ZERO,
            remaining=ZERO,
            cum_quantity=ZERO,
            happened_ns=self._ts_ns,
            text=f"adjustment not booked: {reason}",
            cause_id=command.command_id,
        )

    def _write_without_fill(self, order: GatewayOrder, exec_type: ExecType, text: str, remaining: Decimal) -> None:
        self._write_execution(
            order_id=order.order_id,
            symbol=order.terms.symbol,
            side=order.terms.side,
            exec_type=exec_type,
            fill=None,
            fee=ZERO,
            remaining=remaining,
            cum_quantity=order.cum_quantity,
            happened_ns=self._ts_ns,
            text=text,
            cause_id=order.cause_id,
        )

    def _write_execution(
        self,
        *,
        order_id: str,
        symbol: str,
        side: Side,
        exec_type: ExecType,
        fill: LegFill | None,
        fee: Decimal,
        remaining: Decimal,
        cum_quantity: Decimal,
        happened_ns: int,
        text: str,
        cause_id: str,
    ) -> None:
        self._seq += 1
        is_booked_adjustment = is_adjustment(order_id) and exec_type == TRADE
        report = Execution(
            seq=self._seq,
            ts_ns=self._ts_ns,
            execution_id=adjustment_id(self._seq) if is_booked_adjustment else execution_id(self._seq),
            order_id=order_id,
            symbol=symbol,
            side=side,
            exec_type=exec_type,
            quantity=quantize(ZERO if fill is None else fill.quantity),
            price=quantize(ZERO if fill is None else fill.price),
            fee=quantize(fee),
            leaves_quantity=quantize(remaining),
            cum_quantity=quantize(cum_quantity),
            filled_at_ns=min(happened_ns, self._ts_ns) if happened_ns > 0 else self._ts_ns,
            bar_seq=0,
            text=text,
            cause_id=cause_id,
        )
        self.out.append(report)

    def write_transfer(self, cause: Command | BrokerActivity) -> None:
        """Report the cash transfer of a command or activity, if there is one."""
        seq = self._seq + 1
        if isinstance(cause, Command):
            transfer = self._cash.from_command(self._ts_ns, seq, cause)
        else:
            transfer = self._cash.from_activity(self._ts_ns, seq, cause)
        if transfer is not None:
            self._seq = transfer.seq
            self.out.append(transfer)

    def write_status(self, state: GatewayState, broker: str, reason: str, emulated_stops: list[str]) -> None:
        self._seq += 1
        self.out.append(
            GatewayStatus(
                seq=self._seq,
                ts_ns=self._ts_ns,
                state=state,
                broker=broker,
                reason=reason,
                cause_id=f"tick-{self._ts_ns}",
                emulated_stops=emulated_stops,
            )
        )

    def snapshot(self) -> tuple[Any, ...]:
        return (self._seq, self._intent_seq)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self._seq, self._intent_seq = snapshot
