"""One order at the broker (a leg). The gateway works an order as a sequence of legs, at most one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from operators.money import ZERO, divide, multiply
from schemas.records import ORDER_TOTAL, TRADE, BrokerEvent, ExecType

QuantityRange = tuple[Decimal, Decimal]


class LegFill(NamedTuple):
    """Newly filled units and their price. If `estimated`, the price is derived from the order's average price."""

    quantity: Decimal
    price: Decimal
    estimated: bool = False


class LegEnd(NamedTuple):
    """The end of a leg as reported by the broker. The gateway ends the leg once it knows all `cum_quantity` units."""

    exec_type: ExecType
    cum_quantity: Decimal
    text: str


@dataclass
class Leg:
    """The state of one order at the broker.

    `filled_ranges` are the known parts (low, high] of the order's cumulative quantity. A fill report that is duplicate,
    late or out of order covers its own part exactly once.

    linked_to  order id of the other part of an OCO order at the broker, or ""
    attached   whether it is the stop of an OCO order, which the broker sends with the take profit
    resume     whether the order continues with a new leg, because only the other part was to be cancelled
    """

    client_order_id: str
    quantity: Decimal
    value: Decimal = ZERO
    filled_ranges: list[QuantityRange] = field(default_factory=list)
    accepted: bool = False
    cancel_requested: bool = False
    ending: LegEnd | None = None
    linked_to: str = ""
    attached: bool = False
    resume: bool = False

    @property
    def cum_quantity(self) -> Decimal:
        return sum((high - low for low, high in self.filled_ranges), ZERO)

    @property
    def ended(self) -> bool:
        """Whether the leg is filled, or the broker has ended it and all its fills are known."""
        cum = self.cum_quantity
        return cum >= self.quantity or (self.ending is not None and cum >= self.ending.cum_quantity)

    def apply_report(
        self, event: BrokerEvent, quantity: Decimal, price: Decimal, cum_quantity: Decimal
    ) -> LegFill | None:
        """Apply a broker report: a fill (TRADE) or the order's totals (ORDER). Return the new fill, or None."""
        if event == TRADE:
            return self.apply_fill(quantity, price, cum_quantity)
        return self.apply_order_total(cum_quantity, price) if event == ORDER_TOTAL else None

    def apply_fill(self, quantity: Decimal, price: Decimal, cum_quantity: Decimal) -> LegFill | None:
        """Apply a fill of `quantity` at `price`; `cum_quantity` includes it. Return None if it is a duplicate."""
        new_quantity = self._add_range(cum_quantity - quantity, cum_quantity)
        if not new_quantity:
            return None
        self.value += multiply(new_quantity, price)
        return LegFill(new_quantity, price)

    def apply_order_total(self, cum_quantity: Decimal, average: Decimal) -> LegFill | None:
        """Apply the order's totals, to find fills whose report is missing. Return None if all fills are known."""
        new = self._add_range(ZERO, cum_quantity)
        if not new:
            return None
        missing_value = multiply(cum_quantity, average) - self.value
        # The average is rounded, so the price of the missing part is approximate. It must stay above 0.
        price = divide(missing_value, new) if missing_value > 0 else average
        self.value += multiply(new, price)
        return LegFill(new, price, estimated=True)

    def _add_range(self, low: Decimal, high: Decimal) -> Decimal:
        """Add the range (low, high]. Return the quantity that was not covered before."""
        previous_quantity = self.cum_quantity
        merged: list[QuantityRange] = []
        for filled_range in sorted([*self.filled_ranges, (max(low, ZERO), min(high, self.quantity))]):
            if filled_range[0] >= filled_range[1]:
                continue
            if merged and filled_range[0] <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], filled_range[1]))
            else:
                merged.append(filled_range)
        self.filled_ranges = merged
        return self.cum_quantity - previous_quantity

    def as_tuple(self) -> tuple[Any, ...]:
        ending = None if self.ending is None else tuple(self.ending)
        flags = (self.accepted, self.cancel_requested, ending, self.linked_to, self.attached, self.resume)
        return (self.client_order_id, self.quantity, self.value, list(self.filled_ranges), *flags)

    @classmethod
    def from_tuple(cls, values: tuple[Any, ...]) -> Leg:
        """Return the leg of a tuple. Those of release 0.2.0 and earlier contain no parts of an OCO order."""
        client_order_id, quantity, value, filled_ranges, accepted, cancel_requested, ending, *oco = values
        leg_end = None if ending is None else LegEnd(*ending)
        return cls(
            client_order_id,
            quantity,
            value,
            [(low, high) for low, high in filled_ranges],
            accepted,
            cancel_requested,
            leg_end,
            *oco,
        )
