"""One order at the broker. What the gateway works an order with is one leg after the other, never two at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from operators.money import ZERO, divide, multiply
from schemas.records import TRADE

TOTAL = "ORDER"
"""The event of an update that says how an order stands as a whole: `price` is its average, `text` its status."""
Span = tuple[Decimal, Decimal]


class Fill(NamedTuple):
    """Units that were not known to have traded, and their price; `guessed` from the order's average price."""

    quantity: Decimal
    price: Decimal
    guessed: bool = False


class Ending(NamedTuple):
    """How the broker says the leg ended; it has ended for us once `cum_quantity` has been accounted for."""

    exec_type: str
    cum_quantity: Decimal
    text: str


@dataclass
class Leg:
    """`spans` are the parts (lo, hi] of the order's cumulative quantity that are accounted for: a fill that is told
    twice, late or in another order covers its own part once.
    """

    client_order_id: str
    quantity: Decimal
    value: Decimal = ZERO
    spans: list[Span] = field(default_factory=list)
    accepted: bool = False
    cancel_asked: bool = False
    ending: Ending | None = None

    @property
    def cum_quantity(self) -> Decimal:
        return sum((hi - lo for lo, hi in self.spans), ZERO)

    @property
    def ended(self) -> bool:
        """Whether nothing more can come of it."""
        cum = self.cum_quantity
        return cum >= self.quantity or (self.ending is not None and cum >= self.ending.cum_quantity)

    def told(self, event: str, quantity: Decimal, price: Decimal, cum_quantity: Decimal) -> Fill | None:
        """What a report of the broker tells of trading: TRADE one fill, ORDER the order's sums, others nothing."""
        if event == TRADE:
            return self.trade(quantity, price, cum_quantity)
        return self.total(cum_quantity, price) if event == TOTAL else None

    def trade(self, quantity: Decimal, price: Decimal, cum_quantity: Decimal) -> Fill | None:
        """One fill report: `quantity` at `price`, `cum_quantity` with it. None where it tells nothing new."""
        new = self._cover(cum_quantity - quantity, cum_quantity)
        if not new:
            return None
        self.value += multiply(new, price)
        return Fill(new, price)

    def total(self, cum_quantity: Decimal, average: Decimal) -> Fill | None:
        """The order's own sums, for fills whose report never came. None where all is known."""
        new = self._cover(ZERO, cum_quantity)
        if not new:
            return None
        worth = multiply(cum_quantity, average) - self.value
        # An average is rounded; what it leaves for the missing part may miss the true price by a trifle, and must
        # stay a price.
        price = divide(worth, new) if worth > 0 else average
        self.value += multiply(new, price)
        return Fill(new, price, guessed=True)

    def _cover(self, lo: Decimal, hi: Decimal) -> Decimal:
        """Account for (lo, hi]; returns how much of it was not yet."""
        before = self.cum_quantity
        merged: list[Span] = []
        for span in sorted([*self.spans, (max(lo, ZERO), min(hi, self.quantity))]):
            if span[0] >= span[1]:
                continue
            if merged and span[0] <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], span[1]))
            else:
                merged.append(span)
        self.spans = merged
        return self.cum_quantity - before

    def plain(self) -> tuple[Any, ...]:
        ending = None if self.ending is None else tuple(self.ending)
        flags = (self.accepted, self.cancel_asked, ending)
        return (self.client_order_id, self.quantity, self.value, list(self.spans), *flags)

    @classmethod
    def revive(cls, plain: tuple[Any, ...]) -> Leg:
        name, quantity, value, spans, accepted, cancel_asked, ending = plain
        told = None if ending is None else Ending(*ending)
        return cls(name, quantity, value, [(lo, hi) for lo, hi in spans], accepted, cancel_asked, told)
