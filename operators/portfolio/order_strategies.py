"""The strategy behind each order, for the lots that its fills open."""

from __future__ import annotations

from typing import Any

from operators.manual_orders import MANUAL, is_manual, trading_strategy_of
from schemas.records import Execution

PROPOSALS_MAX = 2
"""Proposals of a symbol that are remembered: one is pending, and a late report can belong to the previous one."""


class OrderStrategies:
    """The strategies of the last proposals of each symbol, as in `OrderProposal.strategy`: "a+b" for several.

    >>> strategies = OrderStrategies()
    >>> strategies.record("KO", "prop-1", "pairs+trend")
    >>> strategies.snapshot()
    [('KO', [('prop-1', 'pairs+trend')])]
    """

    def __init__(self) -> None:
        self._by_proposal: dict[str, str] = {}
        self._proposals: dict[str, list[str]] = {}  # symbol -> ids of its last proposals, oldest first

    def record(self, symbol: str, proposal_id: str, strategy: str) -> None:
        self._by_proposal[proposal_id] = strategy
        proposals = self._proposals.setdefault(symbol, [])
        proposals.append(proposal_id)
        if len(proposals) > PROPOSALS_MAX:
            del self._by_proposal[proposals.pop(0)]

    def of(self, execution: Execution) -> str:
        """Return the strategy behind the order of an execution, "manual" for a person; "" if it is unknown."""
        strategy = self._by_proposal.get(execution.cause_id)
        if strategy is not None:
            return strategy
        return trading_strategy_of(execution.order_id) or (MANUAL if is_manual(execution.order_id) else "")

    def snapshot(self) -> Any:
        return [(symbol, [(one, self._by_proposal[one]) for one in ids]) for symbol, ids in self._proposals.items()]

    def restore(self, snapshot: Any) -> None:
        self._by_proposal, self._proposals = {}, {}
        for symbol, proposals in snapshot:
            for proposal_id, strategy in proposals:
                self.record(symbol, proposal_id, strategy)
