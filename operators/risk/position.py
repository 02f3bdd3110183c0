"""One symbol in risk's book: its quantity, its open orders, and the cash that these reserve."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.money import ONE, ZERO, multiply
from schemas.records import BUY, SELL, Side


class OpenOrder(NamedTuple):
    """An approved order that can still trade: `remaining` units, each valued at `price` in account currency.

    `limit` is the quoted limit price, None for an order without a limit. A reduce-only order never opens a position. It
    reserves no cash and does not count toward the worst-case position.
    """

    side: Side
    remaining: Decimal
    price: Decimal
    limit: Decimal | None = None
    reduce_only: bool = False


class SideTotals:
    """The open orders of one side of one symbol: total units, total cost and the highest price per unit."""

    __slots__ = ("cost", "price_max", "quantity")

    def __init__(self) -> None:
        self.quantity = self.cost = self.price_max = ZERO

    def reserved_cash(self, closable: Decimal) -> Decimal:
        """Return the cash that this side reserves. All units except `closable` open a position.

        The order of fills decides which orders close and which open. The reserve assumes that the most expensive units
        open, so it is sufficient for any order of fills.
        """
        return cash_to_reserve(self.quantity, self.cost, self.price_max, closable)


def cash_to_reserve(quantity: Decimal, cost: Decimal, price_max: Decimal, closable: Decimal) -> Decimal:
    if not closable:
        return cost
    return min(cost, multiply(quantity - closable, price_max)) if quantity > closable else ZERO


class RiskPosition:
    """One symbol's position and open orders. Quantities are signed; short is negative.

    `quantity_factor` and `worst_factor` are floats that include the multiplier. Multiplied by a price, they give money.
    """

    __slots__ = (
        "buys",
        "multiplier",
        "orders",
        "quantity",
        "quantity_factor",
        "reserved_cash",
        "sells",
        "worst_factor",
    )

    def __init__(self, quantity: Decimal = ZERO, multiplier: Decimal = ONE) -> None:
        self.quantity = quantity
        self.multiplier = multiplier
        self.orders: dict[str, OpenOrder] = {}
        self.buys, self.sells = SideTotals(), SideTotals()
        self.update_derived()

    def closable(self, side: Side) -> Decimal:
        """The maximum number of units that an order of this side can close."""
        return max(ZERO, -self.quantity if side == BUY else self.quantity)

    def worst_quantity(self) -> Decimal:
        """The largest |quantity| that filling the open orders of one side can result in."""
        return max(abs(self.quantity + self.buys.quantity), abs(self.quantity - self.sells.quantity))

    def add_order(self, order_id: str, order: OpenOrder) -> None:
        self.orders[order_id] = order
        if order.reduce_only:
            return
        side = self.buys if order.side == BUY else self.sells
        side.quantity += order.remaining
        side.cost += multiply(order.remaining, order.price)
        side.price_max = max(side.price_max, order.price)

    def remove_order(self, order_id: str) -> OpenOrder:
        order = self.orders.pop(order_id)
        if order.reduce_only:
            return order
        side = self.buys if order.side == BUY else self.sells
        side.quantity -= order.remaining
        side.cost -= multiply(order.remaining, order.price)
        if order.price == side.price_max:
            side.price_max = max(
                (o.price for o in self.orders.values() if o.side == order.side and not o.reduce_only), default=ZERO
            )
        return order

    def update_derived(self) -> None:
        """Recompute the derived values. Call after the quantity or the orders change."""
        self.quantity_factor = float(self.quantity * self.multiplier)
        if not self.orders:
            self.reserved_cash, self.worst_factor = ZERO, abs(self.quantity_factor)
            return
        self.reserved_cash = self.buys.reserved_cash(self.closable(BUY)) + self.sells.reserved_cash(self.closable(SELL))
        self.worst_factor = float(self.worst_quantity() * self.multiplier)

    def value(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Value of `quantity` units at a quoted price, in account currency."""
        value_in_currency = multiply(quantity, price)
        return value_in_currency if self.multiplier == ONE else multiply(value_in_currency, self.multiplier)
