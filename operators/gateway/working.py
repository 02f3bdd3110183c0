"""An approved order that has not ended, and how far the gateway is with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from operators.gateway.leg import Leg
from operators.money import ZERO
from operators.orders import OrderState
from schemas.records import BUY, STOP, STOP_LIMIT, TRAILING_STOP, CheckResult, Order

_STOPS = (STOP, STOP_LIMIT, TRAILING_STOP)


@dataclass
class WorkingOrder:
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
    held: bool = False
    after: str = ""
    watched: bool = False
    triggered: bool = False
    best: Decimal | None = None
    day: int = 0
    why_ended: str = ""
    replaced_by: str = ""
    value: Decimal = ZERO
    fees: Decimal = ZERO
    emulated: list[str] = field(default_factory=list)

    @property
    def buying(self) -> bool:
        return self.terms.side == BUY

    @property
    def leaves(self) -> Decimal:
        return self.terms.quantity - self.cum_quantity

    @property
    def has_stop(self) -> bool:
        return self.terms.order_type in _STOPS

    def note(self, what: str) -> None:
        """Remember what is done here because the broker does not do it."""
        if what not in self.emulated:
            self.emulated.append(what)

    @property
    def emulation(self) -> str:
        return "; ".join(self.emulated)

    def plain(self) -> tuple[Any, ...]:
        terms = (*self.terms[:11], [tuple(check) for check in self.terms.checks], *self.terms[12:])
        leg = None if self.leg is None else self.leg.plain()
        flags = (self.legs, self.held, self.after, self.watched, self.triggered, self.best, self.day)
        rest = (self.why_ended, self.replaced_by, self.value, self.fees, list(self.emulated))
        return (terms, self.state.value, self.cum_quantity, leg, *flags, *rest)

    @classmethod
    def revive(cls, plain: tuple[Any, ...]) -> WorkingOrder:
        terms, state, cum_quantity, leg, *rest = plain
        order = Order._make((*terms[:11], [CheckResult(*check) for check in terms[11]], *terms[12:]))
        revived = cls(order, OrderState(state), cum_quantity, None if leg is None else Leg.revive(leg), *rest)
        revived.emulated = list(revived.emulated)
        return revived
