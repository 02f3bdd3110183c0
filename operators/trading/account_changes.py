"""Publish the sub-accounts and positions of the strategies that have changed in a time slice."""

from __future__ import annotations

from collections.abc import Mapping

from operators.trading.accounts import StrategyAccounts
from operators.trading.removed_strategies import RemovedStrategies
from operators.trading.running_strategy import RunningStrategy
from operators.trading.suspensions import ActionLog, Suspensions
from schemas.records import REMOVED, RUNNING, SUSPENDED, WARMING_UP, Record, StrategyState


class AccountChanges:
    """Writes the changed sub-accounts of running and removed strategies, numbered like their actions."""

    def __init__(
        self,
        running: Mapping[str, RunningStrategy],
        removed: RemovedStrategies,
        accounts: StrategyAccounts,
        actions: ActionLog,
        suspensions: Suspensions,
    ) -> None:
        self._running, self._removed, self._accounts = running, removed, accounts
        self._actions, self._suspensions = actions, suspensions

    def publish(self, ts_ns: int, prices: Mapping[str, float], out: list[Record]) -> None:
        """Publish the sub-accounts and positions that have changed, by strategy. `prices` are the last closes."""
        for name, one in self._running.items():
            state: StrategyState = RUNNING
            if name in self._suspensions:
                state = SUSPENDED
            elif one.context.is_warming_up:
                state = WARMING_UP
            account, symbols, seq = self._accounts.accounts[name], one.universe.symbols, self._actions.seq
            changes = one.account_records.changes(seq, ts_ns, state, account, symbols, prices)
            self._actions.seq += len(changes)
            out.extend(changes)
        for name, removed in self._removed.items():
            account, seq = self._accounts.accounts[name], self._actions.seq
            changes = removed.account_records.changes(seq, ts_ns, REMOVED, account, (), prices)
            self._actions.seq += len(changes)
            out.extend(changes)
