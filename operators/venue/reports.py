"""Build the venue's execution reports, with their `seq`."""

from __future__ import annotations

from decimal import Decimal

from operators.money import ZERO
from operators.order_lifecycle import EVENT_OF_EXEC_TYPE, OrderEvent, next_state
from operators.venue.venue_order import VenueOrder
from schemas.records import (
    TRADE,
    Bar,
    ExecType,
    Execution,
    execution_id,
)


class VenueReports:
    """Each report moves its order to the next state. `seq` is that of the last report."""

    def __init__(self) -> None:
        self.seq = 0

    def without_fill(
        self, ts_ns: int, order: VenueOrder, exec_type: ExecType, *, remaining: Decimal = ZERO, text: str = ""
    ) -> Execution:
        """Return a report without a fill: acknowledged, cancelled, replaced, expired or rejected."""
        order.state = next_state(order.state, EVENT_OF_EXEC_TYPE[exec_type], order_id=order.order_id)
        self.seq += 1
        return Execution(
            seq=self.seq,
            ts_ns=ts_ns,
            execution_id=execution_id(self.seq),
            order_id=order.order_id,
            symbol=order.terms.symbol,
            side=order.terms.side,
            exec_type=exec_type,
            quantity=ZERO,
            price=ZERO,
            fee=ZERO,
            leaves_quantity=remaining,
            cum_quantity=order.cum_quantity,
            filled_at_ns=ts_ns,
            bar_seq=0,
            text=text,
            cause_id=order.cause_id,
        )

    def fill(
        self, ts_ns: int, order: VenueOrder, bar: Bar, quantity: Decimal, price: Decimal, fee: Decimal
    ) -> Execution:
        """Return the report of a fill in a bar, which `order.cum_quantity` already includes."""
        remaining = order.remaining
        event = OrderEvent.PARTIAL_FILL if remaining else OrderEvent.FILL
        order.state = next_state(order.state, event, order_id=order.order_id)
        self.seq += 1
        return Execution(
            seq=self.seq,
            ts_ns=ts_ns,
            execution_id=execution_id(self.seq),
            order_id=order.order_id,
            symbol=order.terms.symbol,
            side=order.terms.side,
            exec_type=TRADE,
            quantity=quantity,
            price=price,
            fee=fee,
            leaves_quantity=remaining,
            cum_quantity=order.cum_quantity,
            filled_at_ns=bar.open_ns,
            bar_seq=bar.seq,
            text="",
            cause_id=order.cause_id,
        )
