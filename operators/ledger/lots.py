"""One open lot, and what is taken from it when it is closed."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.money import portion


class Taken(NamedTuple):
    """The part of a lot that a closing trade took, signed like the lot."""

    quantity: Decimal
    cost: Decimal
    fees: Decimal


class OpenLot:
    """What is left of one opening execution. Long lots have positive `quantity` and `cost`, short lots negative ones.

    `cost` is the booked entry value of what is left (quantity * price * multiplier, rounded once when it was booked),
    `fees` what is left of the opening fee. Both shrink by exact shares: the last part takes the remainder, so that the
    parts sum to the whole.
    """

    __slots__ = ("cost", "execution_id", "fees", "lot_id", "opened_ns", "price", "quantity")

    def __init__(
        self,
        lot_id: str,
        opened_ns: int,
        quantity: Decimal,
        price: Decimal,
        cost: Decimal,
        fees: Decimal,
        execution_id: str,
    ) -> None:
        self.lot_id = lot_id
        self.opened_ns = opened_ns
        self.quantity = quantity
        self.price = price
        self.cost = cost
        self.fees = fees
        self.execution_id = execution_id

    def take(self, quantity: Decimal) -> Taken:
        """Take `quantity` (signed like the lot, not more than it holds) out of the lot."""
        whole = self.quantity
        if quantity == whole:
            taken = Taken(whole, self.cost, self.fees)
        else:
            fees = portion(self.fees, quantity, whole) if self.fees else self.fees
            taken = Taken(quantity, portion(self.cost, quantity, whole), fees)
        self.quantity = whole - taken.quantity
        self.cost -= taken.cost
        self.fees -= taken.fees
        return taken

    def as_tuple(self) -> tuple[str, int, Decimal, Decimal, Decimal, Decimal, str]:
        """For a snapshot; `OpenLot(*lot.as_tuple())` is the same lot."""
        return (self.lot_id, self.opened_ns, self.quantity, self.price, self.cost, self.fees, self.execution_id)
