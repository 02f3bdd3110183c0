"""Strategies that the settings no longer name. They run no handler, but their sub-account and orders are still booked.

The sub-account of a removed strategy is published as before, with the state REMOVED. Its positions can be closed by a
FLATTEN_STRATEGY command, or by the removal itself (`signals.on_remove: flatten`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from operators.trading.account_records import AccountRecords
from operators.trading.orders import StrategyOrders
from schemas.records import DELISTING, SYMBOL_CHANGE, CorporateAction, strategy_action_id


class RemovedStrategy:
    """The working orders of a removed strategy, the symbols with a target, and what of it is published."""

    def __init__(self, name: str, action_count: int = 0) -> None:
        self.name, self.action_count = name, action_count
        self.orders = StrategyOrders(name)
        self.targets: dict[str, None] = {}
        self.account_records = AccountRecords(name)

    def next_action_id(self) -> str:
        self.action_count += 1
        return strategy_action_id(self.name, self.action_count)

    def reset(self) -> None:
        """Nothing: it has no state."""

    def snapshot(self) -> Any:
        return (self.action_count, self.orders.snapshot(), list(self.targets), self.account_records.snapshot())

    def restore(self, snapshot: Any) -> None:
        self.action_count, orders, targets, account_records = snapshot
        self.orders.restore(orders)
        self.targets = dict.fromkeys(targets)
        self.account_records.restore(account_records)


class RemovedStrategies(dict[str, RemovedStrategy]):
    """The removed strategies by name. `new` are those that ran in the restored snapshot."""

    new: tuple[str, ...] = ()

    def apply_action(self, action: CorporateAction) -> None:
        """Let the targets in a symbol that was renamed, merged or delisted continue under its new symbol."""
        if action.kind not in (SYMBOL_CHANGE, DELISTING):
            return
        for one in self.values():
            if one.targets.pop(action.symbol, 0) is None and action.new_symbol:
                one.targets[action.new_symbol] = None

    def snapshot(self) -> Any:
        return {name: one.snapshot() for name, one in self.items()}

    def restore(
        self,
        names: Collection[str],
        snapshot: Mapping[str, Any],
        strategies: Mapping[str, Any],
        action_counts: Mapping[str, int],
    ) -> None:
        """Restore the strategies in `names`, whose sub-accounts exist and which do not run.

        `snapshot` are those that were removed before, `strategies` the states of those that ran until now. A
        strategy in neither keeps only its sub-account: an earlier release did not record its removal.
        """
        self.clear()
        # A view strategy has no state here, only actions. A strategy that was removed before is in `snapshot`.
        self.new = tuple(name for name in sorted(names) if name not in snapshot and name in action_counts)
        for name in sorted(names):
            one = self[name] = RemovedStrategy(name, action_counts.get(name, 0))
            if name in snapshot:
                one.restore(snapshot[name])
            elif name in strategies:
                _, count, _, orders, _, _, targets, _, account_records, *_ = strategies[name]
                one.restore((count, orders, targets, account_records))
