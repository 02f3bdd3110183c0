"""The strategies' target quantities by symbol, and the pending proposals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from operators.ledger.corporate_actions import fractional_units
from operators.ledger.split_ratio import exact_ratio, split_price, split_quantity, split_units
from operators.manual_orders import MANUAL
from operators.money import ZERO, multiply
from operators.order_split import split_lots
from operators.portfolio.requested_targets import RequestedTarget
from operators.strategy_shares import largest_holder
from schemas.records import CANCELED, EXPIRED, REJECTED, REPLACED, TARGET_QUANTITY, Execution

ORDER_END_TYPES = (CANCELED, REPLACED, EXPIRED, REJECTED)
"""Execution types that end an order without a fill."""


class Target:
    """One strategy's target for one symbol: its last view, the signed target quantity, and what it holds of that.

    `requested` is the last target that a trading strategy has sized itself, and None if it has a view. `signal_id` is
    the id of the signal or action behind the target. `held` are the strategy's signed units in the account.
    """

    __slots__ = ("direction", "held", "price", "quantity", "requested", "signal_id", "strength")

    def __init__(
        self,
        direction: int,
        strength: float,
        price: float,
        signal_id: str,
        quantity: Decimal,
        requested: tuple[str, Decimal] | None = None,
        held: Decimal = ZERO,
    ) -> None:
        self.direction = direction
        self.strength = strength
        self.price = price
        self.signal_id = signal_id
        self.quantity = quantity
        self.requested = None if requested is None else RequestedTarget(*requested)
        self.held = held

    @property
    def change(self) -> Decimal:
        """The signed units that the strategy has yet to trade."""
        return self.quantity - self.held

    def abandon_increase(self) -> bool:
        """Limit the target so that it at most reduces what is held. Return whether it changed."""
        reachable = min(self.quantity, self.held, key=abs) if self.quantity * self.held > 0 else ZERO
        is_changed = reachable != self.quantity
        self.quantity = reachable
        return is_changed

    def as_tuple(self) -> tuple[Any, ...]:
        view = (self.direction, self.strength, self.price, self.signal_id, self.quantity)
        return view if self.requested is None else (*view, tuple(self.requested))

    def split(self, ratio: Decimal) -> None:
        """Split into `ratio` new units per old unit. A rounding remainder becomes 0."""
        self.quantity, self.held = split_units(self.quantity, ratio), split_units(self.held, ratio)
        self.price /= float(exact_ratio(ratio))
        if self.requested is not None and self.requested.kind == TARGET_QUANTITY:
            self.requested = self.requested._replace(amount=split_quantity(self.requested.amount, ratio))


class PendingOrder:
    """A proposal whose order can still trade. `remaining` is signed, `unit_cost` the cash reserved per unit bought.

    `changes` are those of an order for several strategies, as in `OrderProposal.changes`. `has_traded` is whether it
    has filled in part, so that its internal crosses have traded.
    """

    __slots__ = ("changes", "has_traded", "proposal_id", "quantity", "remaining", "strategies", "unit_cost")

    def __init__(
        self,
        proposal_id: str,
        quantity: Decimal,
        remaining: Decimal,
        unit_cost: Decimal,
        strategies: tuple[str, ...],
        changes: Mapping[str, Decimal] = MappingProxyType({}),
        has_traded: bool = False,
    ) -> None:
        self.changes = dict(changes)
        self.has_traded = has_traded
        self.proposal_id = proposal_id
        self.quantity = quantity
        self.remaining = remaining
        self.unit_cost = unit_cost
        self.strategies = strategies

    def matches(self, execution: Execution) -> bool:
        """Whether the report belongs to this proposal's order."""
        return execution.cause_id == self.proposal_id

    def split(self, ratio: Decimal, lot_size: Decimal) -> None:
        """Convert to new shares at a split, as the venue converts the order."""
        sign = 1 if self.remaining >= 0 else -1
        self.quantity = split_quantity(self.quantity, ratio)
        self.remaining = sign * split_lots(abs(self.remaining), ratio, lot_size)
        self.unit_cost = split_price(self.unit_cost, ratio)
        self.changes = {name: split_quantity(change, ratio) for name, change in self.changes.items()}

    def as_tuple(self) -> tuple[Any, ...]:
        order = (self.proposal_id, self.quantity, self.remaining, self.unit_cost, self.strategies)
        return (*order, dict(self.changes), self.has_traded)

    @property
    def reserved_cash(self) -> Decimal:
        return multiply(self.remaining, self.unit_cost) if self.remaining > 0 else ZERO


class Targets(dict[str, dict[str, Target]]):
    """Targets by symbol and strategy."""

    def split(self, symbol: str, ratio: Decimal, *, whole_units: bool) -> None:
        """Split the targets into `ratio` new units per old unit. A rounding remainder becomes 0.

        With `whole_units` (cash in lieu of fractions), the fraction of the net target is removed, as that of the
        position is. Targets that sum to the position before the split therefore sum to it afterwards: the largest one
        takes the difference.
        """
        targets = self.get(symbol, {})
        net, held = split_units(net_target(targets), ratio), split_units(net_held(targets), ratio)
        if whole_units:
            net, held = net - fractional_units(net), held - fractional_units(held)
        for target in targets.values():
            target.split(ratio)
        hold_difference(targets, held - net_held(targets))
        quantities = {name: target.quantity for name, target in targets.items() if name != MANUAL}
        if quantities and (difference := net - net_target(targets)):
            targets[largest_holder(quantities)].quantity += difference

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Move the targets to `new_symbol`. The old symbol keeps targets of 0, because its orders may still end."""
        new_targets = self.setdefault(new_symbol, {})
        for strategy, target in self.get(symbol, {}).items():
            existing = new_targets.get(strategy)
            new_targets[strategy] = renamed = Target(*target.as_tuple())
            renamed.held = target.held
            if existing is not None:
                renamed.quantity += existing.quantity
                renamed.held += existing.held
        self.close(symbol)

    def close(self, symbol: str) -> None:
        """Set all targets of a symbol, and what is held of them, to 0."""
        for target in self.get(symbol, {}).values():
            target.direction, target.quantity, target.requested, target.held = 0, ZERO, None, ZERO

    def held(self) -> list[tuple[str, dict[str, Decimal]]]:
        """Return what the strategies hold, by symbol and strategy, for a snapshot."""
        return [(symbol, {name: target.held for name, target in targets.items()}) for symbol, targets in self.items()]


def net_target(targets: dict[str, Target]) -> Decimal:
    """Return the sum of the strategies' target quantities."""
    return sum((target.quantity for target in targets.values()), ZERO)


def net_held(targets: dict[str, Target]) -> Decimal:
    """Return the sum of what the strategies hold: the position of the account."""
    return sum((target.held for target in targets.values()), ZERO)


def changes_of(targets: dict[str, Target]) -> dict[str, Decimal]:
    """Return the signed units that the strategies have yet to trade, without zeros."""
    return {name: target.change for name, target in targets.items() if target.change}


def hold_difference(targets: dict[str, Target], difference: Decimal) -> None:
    """Let the largest holder take what rounding, or the sale of a fraction, has left between the account and the sum.

    The target of the manual position stays equal to the manual position, because no strategy trades it.
    """
    if not targets or not difference:
        return
    largest = targets[largest_holder({name: target.held for name, target in targets.items()})]
    largest.held += difference
    if largest is targets.get(MANUAL):
        largest.quantity = largest.held


def apply_manual_trade(targets: dict[str, Target], quantity: Decimal, price: float) -> None:
    """Apply a manual trade of `quantity` units (signed) to the targets, so that no strategy reverses or repeats it.

    The part that closes units reduces the manual position first, then the strategies' positions. The rest becomes a
    manual position, which signals do not change.

    >>> targets = {"ema": Target(1, 1.0, 50.0, "sig-1", Decimal(100), held=Decimal(100))}
    >>> apply_manual_trade(targets, Decimal(-130), 50.0)
    >>> {name: int(target.quantity) for name, target in targets.items()}
    {'ema': 0, 'manual': -30}
    """
    opening = quantity
    for name in sorted(targets, key=lambda name: (name != MANUAL, name)):
        target = targets[name]
        if target.held * opening < 0:
            closed = min(opening, -target.held, key=abs)
            target.held += closed
            if target.quantity * closed < 0:
                target.quantity += min(closed, -target.quantity, key=abs)
            opening -= closed
    if opening:
        manual = targets.setdefault(MANUAL, Target(0, 0.0, price, "", ZERO))
        manual.quantity += opening
        manual.held += opening
    elif MANUAL in targets and not targets[MANUAL].quantity and not targets[MANUAL].held:
        del targets[MANUAL]


def apply_own_trade(targets: dict[str, Target], strategy: str, quantity: Decimal, price: float) -> None:
    """Apply the fill of a trading strategy's own order, `quantity` units (signed), to its target.

    The portfolio therefore neither repeats nor reverses the trade.
    """
    target = targets.setdefault(strategy, Target(0, 0.0, price, "", ZERO))
    target.quantity += quantity
    target.held += quantity


def limit_changes(targets: dict[str, Target], strategies: Sequence[str], amount: Decimal) -> None:
    """Reduce the sum of the targets by `amount` (signed), by which the changes of `strategies` exceed a limit.

    Each strategy in turn gives up at most its own change of that sign, so that the positions of other strategies and of
    manual orders do not change.
    """
    for strategy in strategies:
        change = targets[strategy].change
        if change * amount > 0:
            reduction = min(change, amount, key=abs)
            targets[strategy].quantity -= reduction
            amount -= reduction
    reduce_targets(targets, [*strategies, *sorted(targets.keys() - {*strategies, MANUAL})], amount)


def reduce_targets(targets: dict[str, Target], strategies: Iterable[str], amount: Decimal) -> None:
    """Reduce the sum of the targets by `amount` (signed).

    Each strategy in turn gives up at most its quantity of that sign. The last one takes the remainder.
    """
    target = None
    for strategy in strategies:
        if not amount:
            return
        target = targets[strategy]
        if target.quantity * amount > 0:
            reduction = min(target.quantity, amount, key=abs)
            target.quantity -= reduction
            amount -= reduction
    if amount:
        assert target is not None, "no strategy to reduce"
        target.quantity -= amount


def drop_untraded(targets: dict[str, Target], traded_strategies: Iterable[str]) -> list[str]:
    """Set the targets of strategies that are no longer traded to direction 0. Return the strategies changed."""
    dropped = [name for name, target in targets.items() if name not in traded_strategies and target.direction]
    for name in dropped:
        targets[name].direction, targets[name].strength = 0, 0.0
    return dropped
