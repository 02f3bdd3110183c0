"""An approved order that has not ended, and how far the gateway is with it."""

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
    """`terms` as approved; `cum_quantity` over all its legs, and of the order that it replaces.

    leg         the order at the broker now, None while there is none
    legs        how many there have been
    held        it waits for its parent to be filled
    after       it waits for this order, which it replaces, to end
    watched     its stop is watched here and was not reached yet
    triggered   its stop was reached
    best        trailing stop watched here: the best price so far
    day         trading day on which it came, 0: no bar yet
    why_ended   what the gateway cancels it for
    replaced_by the order that takes its place once it has ended
    value, fees money traded and paid in all
    emulated    what is done here because the broker does not do it
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
        """Remember what is done here because the broker does not do it."""
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
