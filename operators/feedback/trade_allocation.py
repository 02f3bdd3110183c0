"""Allocate each trade to the strategies that caused it.

The order of a trading strategy, and a proposal for its target alone, belong to it. A proposal for several strategies
contains the change of each. Another proposal names its strategies, and the views they had at that time determine how
much of it each of them opens. Its trade first closes positions of the opposite side: those of its own strategies, then
those of others.

In an allocation, each share is rounded to nine decimal places, and the largest share takes the remainder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from operators.ledger.split_ratio import split_quantity
from operators.manual_orders import MANUAL, is_for_account, trading_strategy_of
from operators.money import ONE, ZERO, to_decimal
from operators.portfolio.requested_targets import RequestedView, parse_target
from operators.signals.ensemble import ENSEMBLE
from operators.strategy_shares import StrategyAmounts, allocate_by_weight, parse_changes, share_fill, sides_of
from schemas.records import BUY, Execution, InternalCross, OrderProposal, Signal, StrategyAction

UNATTRIBUTED = "unattributed"
"""Row of the remainder to the ledger's totals. It exists only if the books started before the feedback service."""
PROPOSALS_MAX = 2
"""A symbol has one proposal at a time, but a late report can belong to the previous one."""


class ProposalOwner(NamedTuple):
    """The strategies of a proposal, their shares of the quantity that it opens, and, if it has any, their changes."""

    proposal_id: str
    strategies: tuple[str, ...]
    opening_shares: tuple[tuple[str, Decimal], ...]
    changes: tuple[tuple[str, Decimal], ...] = ()


class TradeAllocation:
    """The strategies' current views, and the strategies of the last proposals of each symbol.

    `trading` are the trading strategies: the ensemble neither closes nor opens their positions.
    """

    def __init__(self, trading: Collection[str] = ()) -> None:
        self.trading = trading
        self._views: dict[str, dict[str, tuple[int, float]]] = {}
        self._contributions: dict[str, dict[str, float]] = {}  # symbol -> contributions to the ensemble's last view
        self._owners: dict[str, list[ProposalOwner]] = {}
        self.members: dict[str, None] = {}  # strategies that have opened positions through the ensemble

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
            ProposalOwner(
                proposal.proposal_id, strategies, opening_shares, tuple(parse_changes(proposal.changes).items())
            ),
        ][-PROPOSALS_MAX:]

    def split(self, symbol: str, ratio: Decimal) -> None:
        """Convert the changes of the last proposals to new shares, as the portfolio does for its pending order."""
        self._owners[symbol] = [
            owner._replace(changes=tuple((name, split_quantity(change, ratio)) for name, change in owner.changes))
            for owner in self._owners.pop(symbol, ())
        ]

    def rename(self, old: str, new: str) -> None:
        """Rename a symbol. What the new symbol already has of its own remains."""
        mappings: tuple[dict[str, dict[str, Any]], ...] = (self._views, self._contributions)
        for by_symbol in mappings:
            if old in by_symbol:
                by_symbol[new] = by_symbol.pop(old) | by_symbol.get(new, {})
        if old in self._owners:
            self._owners[new] = [*self._owners.pop(old), *self._owners.get(new, [])][-2 * PROPOSALS_MAX :]

    def allocate(self, execution: Execution, change: Decimal, opposite: Mapping[str, Decimal]) -> StrategyAmounts:
        """Allocate the traded quantity `change` (signed) to strategies: first positions that it closes, then the rest.

        `opposite` are the strategies' positions of the opposite side, in signed units.
        """
        strategy = trading_strategy_of(execution.order_id)
        if strategy is not None:
            return [(strategy, change)]
        if is_for_account(execution.order_id):
            closing = self._close_manually(change, opposite)
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
        if owner.changes:
            shares = share_fill(dict(owner.changes), execution, change)
            if shares:
                return [part for share in shares for part in self._expand(execution.symbol, share, opposite)]
        if len(owner.strategies) == 1 and owner.strategies != (ENSEMBLE,):
            return [(owner.strategies[0], change)]  # as in the portfolio: it can also be short beside others
        opening_shares = list(owner.opening_shares)
        if owner.strategies == (ENSEMBLE,):
            return self._allocate_to_ensemble(change, opposite, opening_shares)
        if len(owner.strategies) == 1 and change:
            # Fast path: the strategy of the proposal closes its own position, or opens one by its view.
            (name,) = owner.strategies
            held = opposite.get(name, ZERO)
            if abs(held) >= abs(change) or (not held and opening_shares):
                return [(name, change)]
        closing = _close_pro_rata(
            change, {name: signed_quantity for name, signed_quantity in opposite.items() if name in owner.strategies}
        )
        rest = change - sum((quantity for _, quantity in closing), ZERO)
        knows_views = any(name in self._views.get(execution.symbol, {}) for name in owner.strategies)
        if rest and not opening_shares and knows_views:
            # No strategy of the proposal has a view on this side. The rest closes positions of other strategies.
            other_names = sorted(
                (name for name in opposite if name not in owner.strategies), key=lambda name: (name == MANUAL, name)
            )
            closing += _close_in_turn(rest, opposite, other_names)
        return _add_opening(closing, change, opening_shares or [(name, ONE) for name in owner.strategies])

    def cross(self, cross: InternalCross, positions: Mapping[str, Decimal]) -> StrategyAmounts:
        """Allocate both sides of an internal cross, in signed units. `positions` are those of all strategies."""
        amounts: StrategyAmounts = []
        for share in sides_of(cross):
            opposite = {name: quantity for name, quantity in positions.items() if quantity * share[1] < 0}
            amounts += self._expand(cross.symbol, share, opposite)
        return amounts

    def _expand(self, symbol: str, share: tuple[str, Decimal], opposite: Mapping[str, Decimal]) -> StrategyAmounts:
        """Divide the share of the ensemble between its strategies. Other shares stay as they are."""
        name, change = share
        if name != ENSEMBLE:
            return [share]
        side = 1 if change > 0 else -1
        contributions = self._contributions.get(symbol, {}).items()
        opening = [(one, weight) for one, part in contributions if (weight := to_decimal(part * side)) > 0]
        return self._allocate_to_ensemble(change, opposite, opening)

    def _close_manually(self, change: Decimal, opposite: Mapping[str, Decimal]) -> StrategyAmounts:
        """Close positions in the order of the portfolio: manual ones first, then the strategies by name.

        The portfolio has one position for the ensemble, which therefore closes under the name of the ensemble, whatever
        the names of its strategies are. They share it pro rata.
        """
        owners: dict[str, dict[str, Decimal]] = {}
        for name, quantity in opposite.items():
            owners.setdefault(ENSEMBLE if name in self.members else name, {})[name] = quantity
        closing, remaining = list[tuple[str, Decimal]](), change
        for owner in sorted(owners, key=lambda name: (name != MANUAL, name)):
            if not remaining:
                break
            closed = min(remaining, -sum(owners[owner].values(), ZERO), key=abs)
            closing += _close_pro_rata(closed, owners[owner])
            remaining -= closed
        return closing

    def _allocate_to_ensemble(
        self, change: Decimal, opposite: Mapping[str, Decimal], opening_shares: StrategyAmounts
    ) -> StrategyAmounts:
        members = {name: quantity for name, quantity in opposite.items() if name not in (MANUAL, *self.trading)}
        self.members.update(dict.fromkeys(name for name, _ in opening_shares))
        return _add_opening(_close_pro_rata(change, members), change, opening_shares or [(ENSEMBLE, ONE)])

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
