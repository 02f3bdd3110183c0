"""Targets of trading strategies that the portfolio has reduced, as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from operators.money import plain
from operators.portfolio.construction import PlannedTrade, Reduction
from operators.portfolio.targets import Target
from schemas.records import TargetReduction


def reductions_of(targets: Mapping[str, Target], due: Sequence[str], planned: PlannedTrade | None) -> list[Reduction]:
    """Return what a planned trade reduces. Without a plan, the symbol has no price, and no target of `due` changes."""
    if planned is not None:
        return list(planned.reductions)
    unpriced = [(name, targets[name].quantity) for name in due]
    return [Reduction(name, held, held, "known_price", "no price", "a price") for name, held in unpriced]


def reduction_record(seq: int, ts_ns: int, symbol: str, action_id: str, reduction: Reduction) -> TargetReduction:
    """Return the record of a reduced target. `action_id` is the id of the action that set the target."""
    change = f"target of {plain(reduction.requested)} reduced to {plain(reduction.quantity)}"
    return TargetReduction(
        seq=seq,
        ts_ns=ts_ns,
        action_id=action_id,
        strategy=reduction.strategy,
        symbol=symbol,
        requested=reduction.requested,
        quantity=reduction.quantity,
        check=reduction.check,
        found=reduction.found,
        limit=reduction.limit,
        message=f"{reduction.check}: {symbol} {change}, found {reduction.found}, limit {reduction.limit}",
    )
