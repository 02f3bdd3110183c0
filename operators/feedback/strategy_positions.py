"""One strategy's part of a symbol in attribution: its position, its totals, and how a trade changes them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from operators.ledger.corporate_actions import fractional_units
from operators.ledger.split_ratio import split_units
from operators.money import ZERO, multiply, portion
from operators.strategy_shares import StrategyAmounts, largest_holder
from schemas.records import CorporateAction


class AttributedPosition:
    """One strategy's position in a symbol. Quantity and cost are negative for a short position."""

    __slots__ = ("cost", "quantity")

    def __init__(self, quantity: Decimal = ZERO, cost: Decimal = ZERO) -> None:
        self.quantity = quantity
        self.cost = cost


class StrategyTotals:
    """Totals of one strategy over all symbols, since the start."""

    __slots__ = ("cash_flows", "fees", "realized", "trades")

    def __init__(self) -> None:
        self.realized = ZERO
        self.fees = ZERO
        self.cash_flows = ZERO
        self.trades = 0


class SymbolAttribution:
    """The ledger's values of a symbol, and the strategies' positions.

    `last_holders` are the shares of the strategies that last had a position.
    """

    __slots__ = ("cost", "last_holders", "positions", "quantity", "realized")

    def __init__(self) -> None:
        self.quantity = ZERO
        self.cost = ZERO
        self.realized = ZERO
        self.positions: dict[str, AttributedPosition] = {}
        self.last_holders: StrategyAmounts = []

    def holders(self) -> StrategyAmounts:
        return [(name, abs(quantity)) for name, quantity in self.signed_holders()]

    def signed_holders(self) -> StrategyAmounts:
        return [(name, position.quantity) for name, position in self.positions.items() if position.quantity]


class Distribution:
    """Shares that a spin-off has distributed, and what the manual position pays for its part of them."""

    __slots__ = ("new_book", "paid")

    def __init__(self, new_book: SymbolAttribution, paid: Decimal) -> None:
        self.new_book, self.paid = new_book, paid


def book_trade(position: AttributedPosition, totals: StrategyTotals, quantity: Decimal, paid: Decimal) -> None:
    """Book `quantity` for `paid`, both signed. The closing part realizes the difference to the average cost."""
    before = position.quantity
    if before * quantity < 0:
        closing = quantity if abs(quantity) <= abs(before) else -before
        value = paid if closing == quantity else portion(paid, closing, quantity)
        cost = position.cost if closing == -before else portion(position.cost, -closing, before)
        totals.realized -= value + cost
        position.cost -= cost
        position.quantity += closing
        quantity, paid = quantity - closing, paid - value
    position.quantity += quantity
    position.cost += paid


def split_positions(book: SymbolAttribution, ratio: Decimal) -> tuple[str, Decimal]:
    """Split the position of each strategy. Return the largest one, and the difference of the account to their sum.

    `book` contains the account's quantity after the split, and at least one position.
    """
    for position in book.positions.values():
        position.quantity = split_units(position.quantity, ratio)
    quantities = {name: position.quantity for name, position in book.positions.items()}
    return largest_holder(quantities), book.quantity - sum(quantities.values(), ZERO)


def distribute(
    action: CorporateAction,
    book: SymbolAttribution,
    new_book: SymbolAttribution,
    trading: Mapping[str, StrategyTotals],
    unit_value: Decimal,
) -> Decimal:
    """Assign the shares that a spin-off distributes to the strategies with a sub-account, with their cost.

    `unit_value` is that of a new share. Return what the manual position pays for the shares of all others.
    """
    assert action.ratio is not None and action.cost_share is not None, "expected a validated corporate action"
    paid = ZERO
    for name, position in book.positions.items():
        moved = multiply(position.cost, action.cost_share)
        if name not in trading:
            position.cost -= moved
            paid += moved
            continue
        units = split_units(position.quantity, action.ratio)
        new_position = new_book.positions.setdefault(name, AttributedPosition())
        if not units:
            continue  # as in its sub-account
        position.cost -= moved
        book_trade(new_position, trading[name], units, moved)
        if action.amount is not None and (fraction := fractional_units(new_position.quantity)):
            value = multiply(multiply(fraction, action.amount), unit_value)
            book_trade(new_position, trading[name], -fraction, -value)
            paid += value
    return paid
