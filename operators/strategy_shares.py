"""The strategies' shares in a trade, and their internal crosses: opposite changes of positions that need no order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from operators.money import ZERO, plain, portion, quantize
from schemas.records import Execution, InternalCross

StrategyAmounts = list[tuple[str, Decimal]]
"""An amount for each strategy."""


class Match(NamedTuple):
    """What one strategy sells to another, in units."""

    buyer: str
    seller: str
    quantity: Decimal


def match_changes(changes: Mapping[str, Decimal]) -> tuple[list[Match], dict[str, Decimal]]:
    """Match buyers with sellers in the order of their names. Return the matches, and what needs an order.

    `changes` are signed units by strategy.

    >>> matches, rest = match_changes({"trend": Decimal(100), "pairs": Decimal(-60)})
    >>> [(one.buyer, one.seller, int(one.quantity)) for one in matches], rest
    ([('trend', 'pairs', 60)], {'trend': Decimal('40')})
    """
    rest = {name: change for name, change in sorted(changes.items()) if change}
    buyers = [name for name, change in rest.items() if change > 0]
    sellers = [name for name, change in rest.items() if change < 0]
    matches: list[Match] = []
    while buyers and sellers:
        buyer, seller = buyers[0], sellers[0]
        quantity = min(rest[buyer], -rest[seller])
        matches.append(Match(buyer, seller, quantity))
        rest[buyer] -= quantity
        rest[seller] += quantity
        if not rest[buyer]:
            del buyers[0]
        if not rest[seller]:
            del sellers[0]
    return matches, {name: change for name, change in rest.items() if change}


def allocate_by_weight(total: Decimal, weights: Sequence[tuple[str, Decimal]]) -> StrategyAmounts:
    """Allocate `total` by weight. Each share is rounded to nine places; the largest weight takes the remainder.

    If several weights are the largest, the first one takes it.

    >>> [(name, str(share)) for name, share in allocate_by_weight(Decimal(10), [("a", Decimal(1)), ("b", Decimal(2))])]
    [('a', '3.333333333'), ('b', '6.666666667')]
    """
    if len(weights) == 1:
        return [(weights[0][0], total)]
    weight_sum = sum((weight for _, weight in weights), ZERO)
    if not total or not weight_sum:
        return [(name, total if index == 0 else ZERO) for index, (name, _) in enumerate(weights)]
    shares = [(name, portion(total, weight, weight_sum)) for name, weight in weights]
    largest = max(range(len(weights)), key=lambda index: abs(weights[index][1]))
    remainder = total - sum((share for _, share in shares), ZERO)
    shares[largest] = (shares[largest][0], shares[largest][1] + remainder)
    return shares


def balance_amounts(amounts: StrategyAmounts) -> StrategyAmounts:
    """Return amounts that sum to 0: the last one takes the rounding remainder."""
    others = amounts[:-1]
    return [*others, (amounts[-1][0], -sum((amount for _, amount in others), ZERO))]


def largest_holder(positions: Mapping[str, Decimal]) -> str:
    """Return the strategy with the most units, long or short; of several, the last one by name.

    >>> largest_holder({"pairs": Decimal(-60), "trend": Decimal(40)})
    'pairs'
    """
    return max(positions, key=lambda name: (abs(positions[name]), name))


def share_fill(changes: Mapping[str, Decimal], execution: Execution, traded: Decimal) -> StrategyAmounts:
    """Divide a fill of `traded` signed units between the strategies whose changes are on its side, after crosses.

    The shares follow from all that the order has filled so far, so that those of a filled order sum to the changes.
    """
    if not changes:
        return []
    _, rest = match_changes(changes)
    weights = [(name, change) for name, change in rest.items() if change * traded > 0]
    filled = quantize(execution.cum_quantity)
    filled = max(filled, abs(traded)) if traded > 0 else -max(filled, abs(traded))
    before = dict(allocate_by_weight(filled - traded, weights))
    shares = [(name, share - before[name]) for name, share in allocate_by_weight(filled, weights)]
    return [(name, share) for name, share in shares if share]


def to_texts(changes: Mapping[str, Decimal]) -> dict[str, str]:
    """Return changes as in `OrderProposal.changes`."""
    return {name: plain(change) for name, change in sorted(changes.items()) if change}


def parse_changes(texts: Mapping[str, str]) -> dict[str, Decimal]:
    """Return the changes in `OrderProposal.changes`."""
    return {name: Decimal(text) for name, text in texts.items()}


def sides_of(cross: InternalCross) -> tuple[tuple[str, Decimal], tuple[str, Decimal]]:
    """Return the buyer and the seller, each with its signed quantity."""
    return (cross.buyer, cross.quantity), (cross.seller, -cross.quantity)
