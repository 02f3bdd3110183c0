"""What the gateway writes: intents, execution reports, its status. `seq` counts here, one for each topic."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.gateway.leg import Fill, Leg
from operators.gateway.translation import BrokerTerms
from operators.gateway.working import WorkingOrder
from operators.instruments import CRYPTO, Instrument
from operators.money import ZERO, multiply, quantize
from operators.orders import OrderEvent, OrderState, follow
from operators.venue.fees import owed
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

ENDS = {
    CANCELED: OrderEvent.CANCEL,
    REPLACED: OrderEvent.REPLACE,
    EXPIRED: OrderEvent.EXPIRE,
    REJECTED: OrderEvent.REJECT,
}
_EQUITY = VenueSettings(fee_model="alpaca_equity")
_CRYPTO = VenueSettings(fee_model="alpaca_crypto")


class Reports:
    """`out` collects the records of one tick."""

    def __init__(self) -> None:
        self._seq = self._intent_seq = 0
        self._ts_ns = 0
        self.out: list[Record] = []

    def begin(self, ts_ns: int) -> None:
        self._ts_ns, self.out = ts_ns, []

    def intend(self, kind: str, order: WorkingOrder, leg: Leg, told: BrokerTerms | None = None) -> None:
        self._intent_seq += 1
        terms = order.terms
        says = told or BrokerTerms(terms.order_type, None, None, None, None, terms.time_in_force, False)
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
            says.order_type,
            says.limit_price,
            says.stop_price,
            says.trail_amount,
            says.trail_percent,
            says.time_in_force,
            says.extended_hours,
            order.emulation,
            terms.risk_epoch,
        )
        self.out.append(intent)

    def accepted(self, order: WorkingOrder) -> None:
        if order.state is OrderState.APPROVED:
            order.state = follow(order.state, OrderEvent.SUBMIT, order_id=order.terms.order_id)
        order.state = follow(order.state, OrderEvent.ACCEPT, order_id=order.terms.order_id)
        self._moneyless(order, NEW, order.emulation, max(ZERO, order.leaves))

    def ended(self, order: WorkingOrder, exec_type: str, text: str) -> None:
        if exec_type == REPLACED and order.state is OrderState.APPROVED:
            order.state = follow(order.state, OrderEvent.SUBMIT, order_id=order.terms.order_id)
        order.state = follow(order.state, ENDS[exec_type], order_id=order.terms.order_id)
        self._moneyless(order, exec_type, text, ZERO)

    def traded(self, order: WorkingOrder, fill: Fill, happened_ns: int, instrument: Instrument | None) -> None:
        """A fill that is in `order.cum_quantity` already. The fee is what Alpaca's schedule says: it is not reported
        with the fill, and of a crypto order all counts as taken.
        """
        terms, leaves = order.terms, max(ZERO, order.leaves)
        event = OrderEvent.FILL_PART if leaves else OrderEvent.FILL
        order.state = follow(order.state, event, order_id=terms.order_id)
        order.value += multiply(fill.quantity, fill.price)
        schedule = _CRYPTO if instrument is not None and instrument.asset_class == CRYPTO else _EQUITY
        due = owed(schedule, terms.side, order.cum_quantity, order.value, order.value)
        fee, order.fees = max(ZERO, due - order.fees), max(due, order.fees)
        text = "its fill report is missing: price from the order's average" if fill.guessed else ""
        amounts = (fill.quantity, fill.price, fee, leaves, order.cum_quantity)
        self.execute((terms.order_id, terms.symbol, terms.side, TRADE), amounts, happened_ns, text, terms.cause_id)

    def _moneyless(self, order: WorkingOrder, exec_type: str, text: str, leaves: Decimal) -> None:
        terms = order.terms
        amounts = (ZERO, ZERO, ZERO, leaves, order.cum_quantity)
        self.execute((terms.order_id, terms.symbol, terms.side, exec_type), amounts, self._ts_ns, text, terms.cause_id)

    def execute(
        self,
        what: tuple[str, str, str, str],
        amounts: tuple[Decimal, ...],
        happened_ns: int,
        text: str,
        cause_id: str,
    ) -> None:
        """`what`: order, symbol, side, exec_type; `amounts`: quantity, price, fee, leaves, cumulative quantity."""
        self._seq += 1
        at_ns = min(happened_ns, self._ts_ns) if happened_ns > 0 else self._ts_ns
        quantity, price, fee, leaves, cum = map(quantize, amounts)
        ids = (execution_id(self._seq), *what)
        money = (quantity, price, fee, leaves, cum)
        self.out.append(Execution(self._seq, self._ts_ns, *ids, *money, at_ns, 0, text, cause_id))

    def status(self, state: str, broker: str, reason: str) -> None:
        self._seq += 1
        self.out.append(GatewayStatus(self._seq, self._ts_ns, state, broker, reason, f"tick-{self._ts_ns}"))

    def snapshot(self) -> tuple[Any, ...]:
        return (self._seq, self._intent_seq)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self._seq, self._intent_seq = snapshot
