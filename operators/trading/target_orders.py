"""What the portfolio does with the targets of trading strategies: reductions, and orders that end without a fill."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from operators.trading.order_updates import ENDS, OrderUpdate, UpdateStatus
from schemas.records import REPLACED, TRADE, Execution, OrderProposal, OrderRefusal, TargetReduction

REPLACED_BY_PERSON = "a person has amended the order, which is a manual order from now on"
PROPOSALS_MAX = 10_000
"""Number of proposals that are remembered. Each symbol has one at a time."""


class TargetOrders:
    """The strategies behind each open proposal, so that they receive its rejection, expiry or cancel."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._strategies: dict[str, tuple[str, ...]] = {}  # proposal id -> strategies
        self._seq = 0  # of the last reduction or cross

    def is_new(self, seq: int) -> bool:
        """Whether a reduction or cross is not a duplicate. Their `seq` is common."""
        if seq <= self._seq:
            return False
        self._seq = seq
        return True

    def record_proposal(self, proposal: OrderProposal) -> None:
        names = tuple(name for name in proposal.strategy.split("+") if name in self._names)
        if names:
            self._strategies[proposal.proposal_id] = names
            if len(self._strategies) > PROPOSALS_MAX:
                del self._strategies[next(iter(self._strategies))]

    def apply_refusal(self, refusal: OrderRefusal, ts_ns: int) -> list[tuple[str, OrderUpdate]]:
        """Return the update about a proposal that risk has rejected, for each of its strategies."""
        update = OrderUpdate(
            order_id="",
            symbol=refusal.symbol,
            status="rejected",
            request="target",
            check=refusal.check,
            limit=refusal.limit,
            value=refusal.found,
            reason=refusal.message,
            tag="",
            filled=0.0,
            time=ts_ns,
        )
        return [(name, update) for name in self._strategies.pop(refusal.cause_id, ())]

    def apply_report(self, report: Execution, ts_ns: int) -> list[tuple[str, OrderUpdate]]:
        """Return the update about an order that has ended without being filled, for each of its strategies."""
        if report.cause_id not in self._strategies:
            return []
        status: UpdateStatus | None = "cancelled" if report.exec_type == REPLACED else ENDS.get(report.exec_type)
        if status is None:
            if report.exec_type == TRADE and not report.leaves_quantity:
                del self._strategies[report.cause_id]
            return []
        update = OrderUpdate(
            order_id=report.order_id,
            symbol=report.symbol,
            status=status,
            request="target",
            check="venue" if status == "rejected" else "",
            limit="",
            value=report.text if status == "rejected" else "",
            reason=REPLACED_BY_PERSON if report.exec_type == REPLACED else report.text,
            tag="",
            filled=float(report.cum_quantity),
            time=ts_ns,
        )
        return [(name, update) for name in self._strategies.pop(report.cause_id)]

    def apply_reduction(self, reduction: TargetReduction, ts_ns: int) -> tuple[str, OrderUpdate] | None:
        """Return the update about a target that the portfolio has reduced, for its strategy; None for a duplicate."""
        if not self.is_new(reduction.seq) or reduction.strategy not in self._names:
            return None
        update = OrderUpdate(
            order_id="",
            symbol=reduction.symbol,
            status="reduced",
            request="target",
            check=reduction.check,
            limit=reduction.limit,
            value=reduction.found,
            reason=reduction.message,
            tag="",
            filled=0.0,
            time=ts_ns,
        )
        return reduction.strategy, update

    def snapshot(self) -> Any:
        return (self._seq, [(proposal, list(names)) for proposal, names in self._strategies.items()])

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot, without the strategies that no longer run. An earlier one has the proposals only."""
        self._strategies = {}
        self._seq, proposals = (0, snapshot) if isinstance(snapshot, list) else snapshot
        for proposal, names in proposals:
            running = tuple(name for name in names if name in self._names)
            if running:
                self._strategies[proposal] = running
