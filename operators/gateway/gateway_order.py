"""An approved order that has not ended, and its progress in the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from operators.gateway.leg import Leg
from operators.ledger.split_ratio import split_price
from operators.money import ZERO
from operators.order_lifecycle import OrderState
from operators.order_split import split_order
from schemas.records import BUY, STOP, STOP_LIMIT, TRAILING_STOP, CheckResult, Order, OrderTerms
from schemas.records.flat import field_names, from_flat, to_flat

_CHECKS_INDEX = field_names(Order).index("checks")
_STOP_TYPES = (STOP, STOP_LIMIT, TRAILING_STOP)


@dataclass
class GatewayOrder:
    """An approved order and its progress. `cum_quantity` includes all legs and the replaced order.

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
    stop_held         True while the gateway watches its stop because another order of its group holds the position, or
                      because its parent still works
    active_ns         time from which the gateway may trigger its stop: its approval, or the first fill of its parent
    """

    order: Order
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
    stop_held: bool = False
    active_ns: int = 0

    def __post_init__(self) -> None:
        self.active_ns = self.active_ns or self.order.ts_ns

    @property
    def order_id(self) -> str:
        return self.order.order_id

    @property
    def cause_id(self) -> str:
        return self.order.cause_id

    @property
    def terms(self) -> OrderTerms:
        return self.order.terms

    @property
    def buying(self) -> bool:
        return self.order.terms.side == BUY

    def split(self, ratio: Decimal, lot_size: Decimal) -> None:
        """Convert an order that is not at the broker to new shares at a split. `remaining` may become 0."""
        terms, self.cum_quantity = split_order(self.terms, self.cum_quantity, ratio, lot_size)
        self.order = self.order._replace(terms=terms)
        if self.best_price is not None:
            self.best_price = split_price(self.best_price, ratio)

    def reduce(self, quantity: Decimal) -> None:
        """Reduce the order's quantity: another order of its OCO group has traded."""
        terms = self.terms
        self.order = self.order._replace(terms=terms._replace(quantity=terms.quantity - quantity))

    @property
    def remaining(self) -> Decimal:
        return self.order.terms.quantity - self.cum_quantity

    @property
    def has_stop(self) -> bool:
        return self.order.terms.order_type in _STOP_TYPES

    def note_emulation(self, text: str) -> None:
        """Record a feature that the gateway emulates."""
        if text not in self.emulations:
            self.emulations.append(text)

    def drop_emulation(self, text: str) -> None:
        """Forget a feature that the broker supports after all."""
        if text in self.emulations:
            self.emulations.remove(text)

    @property
    def has_emulated_stop(self) -> bool:
        """Whether the order has a stop that is not at the broker: it works only while the platform runs."""
        return self.has_stop and not self.stop_triggered and self.leg is None and not self.end_reason

    @property
    def emulation_text(self) -> str:
        return "; ".join(self.emulations)

    def as_tuple(self) -> tuple[Any, ...]:
        values = to_flat(self.order)
        checks = [tuple(check) for check in self.order.checks]
        order = (*values[:_CHECKS_INDEX], checks, *values[_CHECKS_INDEX + 1 :])
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
        watch = (self.stop_held, self.active_ns)
        return (order, self.state.value, self.cum_quantity, leg, *flags, *rest, *watch)

    @classmethod
    def from_tuple(cls, values: tuple[Any, ...]) -> GatewayOrder:
        """Return the order of a tuple. Those of release 0.2.0 and earlier end before `stop_held`."""
        order_values, state, cum_quantity, leg, *rest = values
        order: Order = from_flat(Order, order_values)
        order = order._replace(checks=[CheckResult(*check) for check in order.checks])
        restored = cls(order, OrderState(state), cum_quantity, None if leg is None else Leg.from_tuple(leg), *rest)
        restored.emulations = list(restored.emulations)
        return restored
