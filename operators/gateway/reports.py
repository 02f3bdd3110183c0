"""Build the gateway's output records: intents, execution reports and status, with one `seq` per topic."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.leg import Fill, Leg
from operators.gateway.translation import BrokerTerms
from operators.instruments import CRYPTO, Instrument
from operators.money import ZERO, multiply, quantize
from operators.order_lifecycle import OrderEvent, OrderState, next_state
from operators.venue.fees import total_fees
from operators.venue.settings import VenueSettings
from schemas.records import (
    CANCELED,
    EXPIRED,
    NEW,
    REJECTED,
    REPLACED,
    TRADE,
    Execution,
    GatewayStatus,
    OrderIntent,
    Record,
    execution_id,
)

END_EVENTS = {
    CANCELED: OrderEvent.CANCEL,
    REPLACED: OrderEvent.REPLACE,
    EXPIRED: OrderEvent.EXPIRE,
    REJECTED: OrderEvent.REJECT,
}
_EQUITY_FEES = VenueSettings(fee_model="alpaca_equity")
_CRYPTO_FEES = VenueSettings(fee_model="alpaca_crypto")


class GatewayReports:
    """Collect the output records of one time slice in `out`."""

    def __init__(self) -> None:
        self._seq = self._intent_seq = 0
        self._ts_ns = 0
        self.out: list[Record] = []

    def begin(self, ts_ns: int) -> None:
        self._ts_ns, self.out = ts_ns, []

    def write_intent(self, kind: str, order: GatewayOrder, leg: Leg, broker_terms: BrokerTerms | None = None) -> None:
        self._intent_seq += 1
        terms = order.terms
        sent_terms = broker_terms or BrokerTerms(terms.order_type, None, None, None, None, terms.time_in_force, False)
        intent = OrderIntent(
            self._intent_seq,
            self._ts_ns,
            f"int-{self._intent_seq}",
            kind,
            terms.order_id,
            leg.client_order_id,
            terms.symbol,
            terms.side,
            leg.quantity,
            sent_terms.order_type,
            sent_terms.limit_price,
            sent_terms.stop_price,
            sent_terms.trail_amount,
            sent_terms.trail_percent,
            sent_terms.time_in_force,
            sent_terms.extended_hours,
            order.emulation_text,
            terms.risk_epoch,
        )
        self.out.append(intent)

    def write_accepted(self, order: GatewayOrder) -> None:
        if order.state is OrderState.APPROVED:
            order.state = next_state(order.state, OrderEvent.SUBMIT, order_id=order.terms.order_id)
        order.state = next_state(order.state, OrderEvent.ACCEPT, order_id=order.terms.order_id)
        self._write_without_fill(order, NEW, order.emulation_text, max(ZERO, order.leaves))

    def write_ended(self, order: GatewayOrder, exec_type: str, text: str) -> None:
        if exec_type == REPLACED and order.state is OrderState.APPROVED:
            order.state = next_state(order.state, OrderEvent.SUBMIT, order_id=order.terms.order_id)
        order.state = next_state(order.state, END_EVENTS[exec_type], order_id=order.terms.order_id)
        self._write_without_fill(order, exec_type, text, ZERO)

    def write_fill(self, order: GatewayOrder, fill: Fill, happened_ns: int, instrument: Instrument | None) -> None:
        """Report a fill that `order.cum_quantity` already includes.

        The broker does not report fees with a fill, so they are computed from Alpaca's fee schedule. Every fill of a
        crypto order counts as taker.
        """
        terms, leaves = order.terms, max(ZERO, order.leaves)
        event = OrderEvent.PARTIAL_FILL if leaves else OrderEvent.FILL
        order.state = next_state(order.state, event, order_id=terms.order_id)
        order.traded_value += multiply(fill.quantity, fill.price)
        schedule = _CRYPTO_FEES if instrument is not None and instrument.asset_class == CRYPTO else _EQUITY_FEES
        fees_due = total_fees(schedule, terms.side, order.cum_quantity, order.traded_value, order.traded_value)
        fee, order.fees = max(ZERO, fees_due - order.fees), max(fees_due, order.fees)
        text = "fill report is missing: price estimated from the order's average price" if fill.estimated else ""
        amounts = (fill.quantity, fill.price, fee, leaves, order.cum_quantity)
        self.write_execution(
            (terms.order_id, terms.symbol, terms.side, TRADE), amounts, happened_ns, text, terms.cause_id
        )

    def _write_without_fill(self, order: GatewayOrder, exec_type: str, text: str, leaves: Decimal) -> None:
        terms = order.terms
        amounts = (ZERO, ZERO, ZERO, leaves, order.cum_quantity)
        self.write_execution(
            (terms.order_id, terms.symbol, terms.side, exec_type), amounts, self._ts_ns, text, terms.cause_id
        )

    def write_execution(
        self,
        order_fields: tuple[str, str, str, str],
        amounts: tuple[Decimal, ...],
        happened_ns: int,
        text: str,
        cause_id: str,
    ) -> None:
        """Publish an execution report.

        `order_fields` are order id, symbol, side and exec_type. `amounts` are quantity, price, fee, leaves quantity and
        cumulative quantity.
        """
        self._seq += 1
        at_ns = min(happened_ns, self._ts_ns) if happened_ns > 0 else self._ts_ns
        quantity, price, fee, leaves, cum = map(quantize, amounts)
        ids = (execution_id(self._seq), *order_fields)
        money = (quantity, price, fee, leaves, cum)
        self.out.append(Execution(self._seq, self._ts_ns, *ids, *money, at_ns, 0, text, cause_id))

    def write_status(self, state: str, broker: str, reason: str) -> None:
        self._seq += 1
        self.out.append(GatewayStatus(self._seq, self._ts_ns, state, broker, reason, f"tick-{self._ts_ns}"))

    def snapshot(self) -> tuple[Any, ...]:
        return (self._seq, self._intent_seq)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self._seq, self._intent_seq = snapshot
