"""The strategies' target quantities by symbol, and the pending proposals."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from operators.ledger.corporate_actions import fractional_units
from operators.ledger.split_ratio import ROUNDING_REMAINDER, exact_ratio, split_price, split_quantity
from operators.manual_orders import MANUAL
from operators.money import ZERO, multiply
from operators.order_split import split_lots
from operators.portfolio.requested_targets import RequestedTarget
from schemas.records import CANCELED, EXPIRED, REJECTED, REPLACED, TARGET_QUANTITY, Execution

ORDER_END_TYPES = (CANCELED, REPLACED, EXPIRED, REJECTED)
"""Execution types that end an order without a fill."""


class Target:
    """One strategy's target for one symbol: its last view, and the signed target quantity.

    `requested` is the last target that a trading strategy has sized itself, and None if it has a view. `signal_id` is
    the id of the signal or action behind the target.
    """

    __slots__ = ("direction", "price", "quantity", "requested", "signal_id", "strength")

    def __init__(
        self,
        direction: int,
        strength: float,
        price: float,
        signal_id: str,
        quantity: Decimal,
        requested: tuple[str, Decimal] | None = None,
    ) -> None:
        self.direction = direction
        self.strength = strength
        self.price = price
        self.signal_id = signal_id
        self.quantity = quantity
        self.requested = None if requested is None else RequestedTarget(*requested)

    def as_tuple(self) -> tuple[Any, ...]:
        view = (self.direction, self.strength, self.price, self.signal_id, self.quantity)
        return view if self.requested is None else (*view, tuple(self.requested))

    def split(self, ratio: Decimal) -> None:
        """Split into `ratio` new units per old unit. A rounding remainder becomes 0."""
        quantity = split_quantity(self.quantity, ratio)
        self.quantity = ZERO if abs(quantity) <= ROUNDING_REMAINDER else quantity
        self.price /= float(exact_ratio(ratio))
        if self.requested is not None and self.requested.kind == TARGET_QUANTITY:
            self.requested = self.requested._replace(amount=split_quantity(self.requested.amount, ratio))


class PendingOrder:
    """A proposal whose order can still trade. `remaining` is signed, `unit_cost` the cash reserved per unit bought."""

    __slots__ = ("proposal_id", "quantity", "remaining", "strategies", "unit_cost")

    def __init__(
        self,
        proposal_id: str,
        quantity: Decimal,
        remaining: Decimal,
        unit_cost: Decimal,
        strategies: tuple[str, ...],
    ) -> None:
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

    def as_tuple(self) -> tuple[str, Decimal, Decimal, Decimal, tuple[str, ...]]:
        return (self.proposal_id, self.quantity, self.remaining, self.unit_cost, self.strategies)

    @property
    def reserved_cash(self) -> Decimal:
        return multiply(self.remaining, self.unit_cost) if self.remaining > 0 else ZERO


class Targets(dict[str, dict[str, Target]]):
    """Targets by symbol and strategy."""

    def split(self, symbol: str, ratio: Decimal, *, whole_units: bool) -> None:
        """Split the targets into `ratio` new units per old unit. A rounding remainder becomes 0.

        With `whole_units` (cash in lieu of fractions), the fraction of the net target is removed, as that of the
        position is. Targets that sum to the position therefore do so after the split: the largest one takes the
        difference.
        """
        targets = self.get(symbol, {})
        net = split_quantity(net_target(targets), ratio)
        net -= fractional_units(net) if whole_units else ZERO
        for target in targets.values():
            target.split(ratio)
        if targets and (difference := net - net_target(targets)):
            max(targets.values(), key=lambda target: abs(target.quantity)).quantity += difference

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Move the targets to `new_symbol`. The old symbol keeps targets of 0, because its orders may still end."""
        new_targets = self.setdefault(new_symbol, {})
        for strategy, target in self.get(symbol, {}).items():
            existing = new_targets.get(strategy)
            new_targets[strategy] = Target(*target.as_tuple())
            if existing is not None:
                new_targets[strategy].quantity += existing.quantity
        self.close(symbol)

    def close(self, symbol: str) -> None:
        """Set all targets of a symbol to 0."""
        for target in self.get(symbol, {}).values():
            target.direction, target.quantity, target.requested = 0, ZERO, None


def net_target(targets: dict[str, Target]) -> Decimal:
    """Return the sum of the strategies' target quantities."""
    return sum((target.quantity for target in targets.values()), ZERO)


def apply_manual_trade(targets: dict[str, Target], quantity: Decimal, price: float) -> None:
    """Apply a manual trade of `quantity` units (signed) to the targets, so that no strategy reverses or repeats it.

    The part that closes units reduces the manual target first, then the strategies' targets. The rest becomes a manual
    target, which signals do not change.

    >>> targets = {"ema": Target(1, 1.0, 50.0, "sig-1", Decimal(100))}
    >>> apply_manual_trade(targets, Decimal(-130), 50.0)
    >>> {name: int(target.quantity) for name, target in targets.items()}
    {'ema': 0, 'manual': -30}
    """
    opposite = sum((target.quantity for target in targets.values() if target.quantity * quantity < 0), ZERO)
    offset = min(-quantity, opposite, key=abs)
    if offset:
        reduce_targets(targets, sorted(targets, key=lambda name: (name != MANUAL, name)), offset)
    remainder = quantity + offset
    if remainder:
        manual = targets.setdefault(MANUAL, Target(0, 0.0, price, "", ZERO))
        manual.quantity += remainder
    elif MANUAL in targets and not targets[MANUAL].quantity:
        del targets[MANUAL]


def apply_own_trade(targets: dict[str, Target], strategy: str, quantity: Decimal, price: float) -> None:
    """Apply the fill of a trading strategy's own order, `quantity` units (signed), to its target.

    The portfolio therefore neither repeats nor reverses the trade.
    """
    targets.setdefault(strategy, Target(0, 0.0, price, "", ZERO)).quantity += quantity


def reduce_targets(targets: dict[str, Target], strategies: Iterable[str], amount: Decimal) -> None:
    """Reduce the sum of the targets by `amount` (signed).

    Each strategy in turn gives up to its quantity of that sign. The last one takes the remainder.
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
