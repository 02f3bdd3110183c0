"""Allocate each trade to the strategies that caused it.

The order of a trading strategy belongs to it. A proposal names its strategies. The views they had at that time
determine how much of the proposal each of them opens. A trade first closes positions of the opposite side: those of its
own strategies, then those of others.

In an allocation, each share is rounded to nine decimal places, and the largest share takes the remainder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from operators.manual_orders import MANUAL, is_manual, trading_strategy_of
from operators.money import ONE, ZERO, portion, to_decimal
from operators.portfolio.requested_targets import RequestedView, parse_target
from operators.signals.ensemble import ENSEMBLE
from schemas.records import BUY, Execution, OrderProposal, Signal, StrategyAction

UNATTRIBUTED = "unattributed"
"""Row of the remainder to the ledger's totals. It exists only if the books started before the feedback service."""
PROPOSALS_MAX = 2
"""A symbol has one proposal at a time, but a late report can belong to the previous one."""
StrategyAmounts = list[tuple[str, Decimal]]


class ProposalOwner(NamedTuple):
    """The strategies of a proposal, and their shares of the quantity that it opens."""

    proposal_id: str
    strategies: tuple[str, ...]
    opening_shares: tuple[tuple[str, Decimal], ...]


class TradeAllocation:
    """The strategies' current views, and the strategies of the last proposals of each symbol."""

    def __init__(self) -> None:
        self._views: dict[str, dict[str, tuple[int, float]]] = {}
        self._contributions: dict[str, dict[str, float]] = {}  # symbol -> contributions to the ensemble's last view
        self._owners: dict[str, list[ProposalOwner]] = {}

    def record_signal(self, signal: Signal) -> None:
        self._views.setdefault(signal.symbol, {})[signal.strategy] = (signal.direction, signal.strength)
        if signal.strategy == ENSEMBLE:
            self._contributions[signal.symbol] = signal.parts

    def record_action(self, action: StrategyAction) -> None:
        """Record the side of the target that a trading strategy requests."""
        requested = parse_target(action)
        if requested is not None:
            strength = requested.strength if isinstance(requested, RequestedView) else 1.0
            self._views.setdefault(action.symbol, {})[action.strategy] = (requested.direction, strength)

    def record_proposal(self, proposal: OrderProposal) -> None:
        """Record the strategies of a proposal and their shares by their current views."""
        symbol, strategies = proposal.terms.symbol, tuple(proposal.strategy.split("+"))
        side = 1 if proposal.terms.side == BUY else -1
        if strategies == (ENSEMBLE,):
            signed_shares = self._contributions.get(symbol, {})
        else:
            views = self._views.get(symbol, {})
            signed_shares = {
                strategy: views[strategy][0] * views[strategy][1] for strategy in strategies if strategy in views
            }
        opening_shares = tuple(
            (strategy, share)
            for strategy, signed_share in signed_shares.items()
            if (share := to_decimal(signed_share * side)) > 0
        )
        self._owners[symbol] = [
            *self._owners.get(symbol, []),
            ProposalOwner(proposal.proposal_id, strategies, opening_shares),
        ][-PROPOSALS_MAX:]

    def rename(self, old: str, new: str) -> None:
        mappings: tuple[dict[str, Any], ...] = (self._views, self._contributions, self._owners)
        for by_symbol in mappings:
            if old in by_symbol:
                by_symbol[new] = by_symbol.pop(old)

    def allocate(self, execution: Execution, change: Decimal, opposite: Mapping[str, Decimal]) -> StrategyAmounts:
        """Allocate the traded quantity `change` (signed) to strategies: first positions that it closes, then the rest.

        `opposite` are the strategies' positions of the opposite side, in signed units.
        """
        strategy = trading_strategy_of(execution.order_id)
        if strategy is not None:
            return [(strategy, change)]
        if is_manual(execution.order_id):
            # Same order as in the portfolio: manual positions first, then the strategies.
            closing = _close_in_turn(change, opposite, sorted(opposite, key=lambda name: (name != MANUAL, name)))
            return _add_opening(closing, change, [(MANUAL, ONE)])
        owner = next(
            (
                candidate
                for candidate in self._owners.get(execution.symbol, ())
                if candidate.proposal_id == execution.cause_id
            ),
            None,
        )
        if owner is None:
            return _add_opening(_close_pro_rata(change, opposite), change, [(UNATTRIBUTED, ONE)])
        opening_shares = list(owner.opening_shares)
        if owner.strategies == (ENSEMBLE,):
            strategy_quantities = {
                name: signed_quantity for name, signed_quantity in opposite.items() if name != MANUAL
            }
            return _add_opening(
                _close_pro_rata(change, strategy_quantities), change, opening_shares or [(ENSEMBLE, ONE)]
            )
        closing = _close_pro_rata(
            change, {name: signed_quantity for name, signed_quantity in opposite.items() if name in owner.strategies}
        )
        rest = change - sum((quantity for _, quantity in closing), ZERO)
        if rest and not opening_shares:
            # No strategy of the proposal has a view on this side. The rest closes positions of other strategies.
            other_names = sorted(
                (name for name in opposite if name not in owner.strategies), key=lambda name: (name == MANUAL, name)
            )
            closing += _close_in_turn(rest, opposite, other_names)
        return _add_opening(closing, change, opening_shares or [(name, ONE) for name in owner.strategies])

    def snapshot(self) -> tuple[Any, Any, Any]:
        """Return (views, contributions, owners)."""
        return (
            {symbol: dict(views) for symbol, views in self._views.items()},
            {symbol: dict(contributions) for symbol, contributions in self._contributions.items()},
            [(symbol, [tuple(owner) for owner in entries]) for symbol, entries in self._owners.items()],
        )

    def restore(self, snapshot: tuple[Any, Any, Any]) -> None:
        views, contributions, owners = snapshot
        self._views = {symbol: dict(one) for symbol, one in views.items()}
        self._contributions = {symbol: dict(one) for symbol, one in contributions.items()}
        self._owners = {symbol: [ProposalOwner(*one) for one in entries] for symbol, entries in owners}


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


def _close_pro_rata(change: Decimal, opposite: Mapping[str, Decimal]) -> StrategyAmounts:
    """Close positions of the opposite side of `change`, in proportion to their quantity."""
    sizes = [(name, abs(quantity)) for name, quantity in opposite.items()]
    opposite_total = sum((quantity for _, quantity in sizes), ZERO)
    if not opposite_total:
        return []
    if opposite_total <= abs(change):
        return [(name, -quantity) for name, quantity in opposite.items()]
    return allocate_by_weight(change, sizes)


def _close_in_turn(change: Decimal, opposite: Mapping[str, Decimal], names: Iterable[str]) -> StrategyAmounts:
    """Close positions of the opposite side of `change`, in the order of `names`."""
    closing, remaining = [], change
    for name in names:
        if not remaining:
            break
        closed = min(remaining, -opposite[name], key=abs)
        closing.append((name, closed))
        remaining -= closed
    return closing


def _add_opening(closing: StrategyAmounts, change: Decimal, opening_shares: StrategyAmounts) -> StrategyAmounts:
    opening_quantity = change - sum((quantity for _, quantity in closing), ZERO)
    return [*closing, *allocate_by_weight(opening_quantity, opening_shares)] if opening_quantity else closing
