"""The open part of one opening trade."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.money import ZERO, Places


class OpenLot:
    """The open part of one opening trade. Long lots have a positive `quantity` and `cost`, short lots negative ones.

    `cost` is the booked entry value of the open part (quantity * price * unit value, rounded once at booking). `fees`
    is the open part of the opening fee. `carried_loss` is the loss that a wash sale moved into this lot. A partial
    close reduces all three in proportion. The last part takes the rounding remainder, so the parts sum to the whole.
    After a wash sale, the holding period starts at `term_start_ns`, before `opened_ns` by that of the replaced lot.
    `strategy` is that of the opening order; "" if it is unknown.
    """

    __slots__ = (
        "carried_loss",
        "cost",
        "execution_id",
        "fees",
        "is_replacement",
        "lot_id",
        "opened_ns",
        "price",
        "quantity",
        "strategy",
        "term_start_ns",
    )

    def __init__(
        self,
        lot_id: str,
        opened_ns: int,
        quantity: Decimal,
        price: Decimal,
        cost: Decimal,
        fees: Decimal,
        execution_id: str,
        carried_loss: Decimal = ZERO,
        term_start_ns: int | None = None,
        is_replacement: bool = False,
        strategy: str = "",
    ) -> None:
        self.lot_id = lot_id
        self.opened_ns = opened_ns
        self.quantity = quantity
        self.price = price
        self.cost = cost
        self.fees = fees
        self.execution_id = execution_id
        self.carried_loss = carried_loss
        self.term_start_ns = opened_ns if term_start_ns is None else term_start_ns
        self.strategy = strategy
        self.is_replacement = is_replacement  # whether these units have already replaced units sold at a loss

    def split_off(self, quantity: Decimal, places: Places) -> OpenLot:
        """Move `quantity` (signed like the lot, smaller than it) with its exact shares of the amounts to a new lot."""
        total, portion = self.quantity, places.portion
        assert abs(quantity) < abs(total) and quantity * total > 0, f"{quantity} of {total}"
        cost = portion(self.cost, quantity, total)
        fees = portion(self.fees, quantity, total) if self.fees else ZERO
        carried_loss = portion(self.carried_loss, quantity, total) if self.carried_loss else ZERO
        self.quantity = total - quantity
        self.cost -= cost
        self.fees -= fees
        self.carried_loss -= carried_loss
        part = OpenLot(*self.as_tuple())
        part.quantity, part.cost, part.fees, part.carried_loss = quantity, cost, fees, carried_loss
        return part

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the state for a snapshot. `OpenLot(*lot.as_tuple())` restores the lot."""
        return (
            self.lot_id,
            self.opened_ns,
            self.quantity,
            self.price,
            self.cost,
            self.fees,
            self.execution_id,
            self.carried_loss,
            self.term_start_ns,
            self.is_replacement,
            self.strategy,
        )
