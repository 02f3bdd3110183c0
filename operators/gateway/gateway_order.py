"""An approved order that has not ended, and its progress in the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from operators.gateway.leg import Leg
from operators.money import ZERO
from operators.order_lifecycle import OrderState
from schemas.records import BUY, STOP, STOP_LIMIT, TRAILING_STOP, CheckResult, Order

_STOP_TYPES = (STOP, STOP_LIMIT, TRAILING_STOP)


@dataclass
class GatewayOrder:
    """The approved `terms` of an order and its progress. `cum_quantity` includes all legs and the replaced order.

    leg               the current order at the broker, None if there is none
    legs              number of legs so far
    waits_for_parent  True until its parent order is filled
    waits_for_order   id of the replaced order until that order has ended, or ""
    stop_watched      True while the gateway watches its stop
    stop_triggered    True once its stop price was reached
    best_price        trailing stop in the gateway: the best price so far
    first_day         trading day on which the order arrived, 0 before the first bar
    end_reason        why the gateway cancels the order, or ""
    replaced_by       id of the order that replaces it once it has ended
    traded_value      total value traded
    fees              total fees
    emulations        features that the gateway emulates because the broker does not support them
    """

    terms: Order
    state: OrderState = OrderState.APPROVED
    cum_quantity: Decimal = ZERO
    leg: Leg | None = None
    legs: int = 0
    waits_for_parent: bool = False
    waits_for_order: str = ""
    stop_watched: bool = False
    stop_triggered: bool = False
    best_price: Decimal | None = None
    first_day: int = 0
    end_reason: str = ""
    replaced_by: str = ""
    traded_value: Decimal = ZERO
    fees: Decimal = ZERO
    emulations: list[str] = field(default_factory=list)

    @property
    def buying(self) -> bool:
        return self.terms.side == BUY

    @property
    def leaves(self) -> Decimal:
        return self.terms.quantity - self.cum_quantity

    @property
    def has_stop(self) -> bool:
        return self.terms.order_type in _STOP_TYPES

    def note_emulation(self, text: str) -> None:
        """Record a feature that the gateway emulates."""
        if text not in self.emulations:
            self.emulations.append(text)

    @property
    def emulation_text(self) -> str:
        return "; ".join(self.emulations)

    def as_tuple(self) -> tuple[Any, ...]:
        terms = (*self.terms[:11], [tuple(check) for check in self.terms.checks], *self.terms[12:])
        leg = None if self.leg is None else self.leg.as_tuple()
        flags = (
            self.legs,
            self.waits_for_parent,
            self.waits_for_order,
            self.stop_watched,
            self.stop_triggered,
            self.best_price,
            self.first_day,
        )
        rest = (self.end_reason, self.replaced_by, self.traded_value, self.fees, list(self.emulations))
        return (terms, self.state.value, self.cum_quantity, leg, *flags, *rest)

    @classmethod
    def from_tuple(cls, values: tuple[Any, ...]) -> GatewayOrder:
        terms, state, cum_quantity, leg, *rest = values
        order = Order._make((*terms[:11], [CheckResult(*check) for check in terms[11]], *terms[12:]))
        restored = cls(order, OrderState(state), cum_quantity, None if leg is None else Leg.from_tuple(leg), *rest)
        restored.emulations = list(restored.emulations)
        return restored
