"""Publish the actions of trading strategies, and suspend and resume strategies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from operators.approvals import lacks_approval
from operators.strategy_limits import LOSS_STOP
from operators.trading.accounts import StrategyAccounts
from operators.trading.context import NewAction
from operators.trading.limited_views import Suspendable
from operators.trading.loss_stop import LossStops
from operators.trading.removed_strategies import RemovedStrategies, RemovedStrategy
from operators.trading.running_strategy import RunningStrategy
from operators.trading.settings import TradingSettings
from schemas.records import (
    CANCEL_ORDER,
    RESUMED,
    SUSPENDED,
    TARGET_QUANTITY,
    Command,
    Record,
    StrategyAction,
    StrategyActionKind,
)

COMMAND_IDS_MAX = 1_000
"""Number of recent commands remembered to discard duplicates."""


class ActionLog:
    """Numbers the records of the stage, and books each action in the sub-accounts."""

    def __init__(self, accounts: StrategyAccounts, source_sha256: Mapping[str, Sequence[str]]) -> None:
        self.seq = 0
        self._accounts, self._source_sha256 = accounts, source_sha256

    def record(self, ts_ns: int, strategy: str, action: NewAction) -> StrategyAction:
        """Return the record of an action of a strategy."""
        self.seq += 1
        record = StrategyAction(
            seq=self.seq,
            ts_ns=ts_ns,
            action_id=action.action_id,
            strategy=strategy,
            kind=action.kind,
            symbol=action.symbol,
            arguments=action.arguments,
            reason=action.reason,
            cause_ids=action.cause_ids,
            source_sha256=list(self._source_sha256.get(strategy, ())),
        )
        self._accounts.record_action(record)
        return record

    def record_own(
        self,
        ts_ns: int,
        one: Suspendable,
        kind: StrategyActionKind,
        symbol: str,
        arguments: dict[str, str],
        cause_ids: list[str],
        reason: str = "",
    ) -> StrategyAction:
        """Return the record of an action of the platform on behalf of a strategy."""
        return self.record(
            ts_ns,
            one.name,
            NewAction(
                action_id=one.next_action_id(),
                kind=kind,
                symbol=symbol,
                arguments=arguments,
                reason=reason,
                cause_ids=cause_ids,
            ),
        )


class Suspensions:
    """The suspended strategies: those that raised, acted invalidly or lost more than their limits allow.

    A suspended strategy runs no handler until a RESUME_STRATEGY command. Its positions and orders stay; with
    `flatten_on_error` they are closed and cancelled.
    """

    def __init__(
        self, actions: ActionLog, accounts: StrategyAccounts, loss_stops: LossStops, settings: TradingSettings
    ) -> None:
        self._actions, self._accounts, self._loss_stops = actions, accounts, loss_stops
        self._flatten_on_error, self._approvals = settings.flatten_on_error, settings.approvals
        self._on_remove = settings.on_remove
        self._suspended: dict[str, str] = {}  # strategy -> id of the action that suspended it, also of removed ones
        self._command_ids: dict[str, None] = {}

    def __contains__(self, strategy: str) -> bool:
        return strategy in self._suspended

    @property
    def names(self) -> list[str]:
        return sorted(self._suspended)

    def suspend(
        self, ts_ns: int, one: Suspendable, reason: dict[str, str], causes: Sequence[str], out: list[Record]
    ) -> None:
        """Suspend a strategy. `reason` is the error with its file and line, or the limit that was exceeded."""
        on_error = "flatten" if one.name in self._flatten_on_error else "hold"
        arguments = {**reason, "on_error": on_error}
        suspension = self._actions.record_own(ts_ns, one, SUSPENDED, "", arguments, list(causes))
        self._suspended[one.name] = suspension.action_id
        one.reset()
        out.append(suspension)
        if on_error == "flatten":
            self._flatten(ts_ns, one, [suspension.action_id], out)

    def apply_loss_stops(
        self, ts_ns: int, running: Mapping[str, Suspendable], prices: dict[str, float], out: list[Record]
    ) -> None:
        """Suspend each strategy that has lost more than its limits allow."""
        for name, breach in self._loss_stops.find_breaches(prices):
            if name not in self._suspended:
                arguments = {"error_type": LOSS_STOP, "file": "", "line": "0", **breach._asdict()}
                self.suspend(ts_ns, running[name], arguments, [], out)

    def wind_down(self, ts_ns: int, removed: RemovedStrategies, causes: Sequence[str], out: list[Record]) -> None:
        """Close the positions of the strategies that have just been removed, if the settings say so."""
        if self._on_remove == "flatten":
            for name in removed.new:
                self._flatten(ts_ns, removed[name], causes, out)
        removed.new = ()

    def _flatten(self, ts_ns: int, one: Suspendable, causes: Sequence[str], out: list[Record]) -> None:
        """Cancel the strategy's orders, and set the target of every symbol that it has or may get to 0."""
        ledger = self._accounts.accounts[one.name].ledger
        positions = {position.symbol for position in ledger.positions() if position.quantity}
        if isinstance(one, RunningStrategy | RemovedStrategy):
            positions |= set(one.targets)
            for order_id in one.orders.ids():
                symbol = one.orders.symbol_of(order_id) or ""
                action = self._actions.record_own(
                    ts_ns, one, CANCEL_ORDER, symbol, {"order_id": order_id}, list(causes)
                )
                one.orders.add_request(action.action_id, "cancel", order_id)
                out.append(action)
        out.extend(
            self._actions.record_own(ts_ns, one, TARGET_QUANTITY, symbol, {"quantity": "0"}, list(causes))
            for symbol in sorted(positions)
        )

    def resume(
        self,
        ts_ns: int,
        command: Command,
        running: Mapping[str, Suspendable],
        prices: dict[str, float],
        out: list[Record],
    ) -> None:
        """Resume the strategy that a RESUME_STRATEGY command names, without state.

        A command without the approval that the settings require has no effect.
        """
        if not self._accepts(command):
            return
        name = command.arguments.get("strategy", "")
        one = running.get(name)
        if one is None or self._suspended.pop(name, None) is None:
            return
        one.reset()
        self._loss_stops.restart(name, prices)
        reason = command.reason.replace("\0", "")
        out.append(self._actions.record_own(ts_ns, one, RESUMED, "", {}, [command.command_id], reason))

    def flatten(
        self,
        ts_ns: int,
        command: Command,
        strategies: Mapping[str, Suspendable],
        removed: Collection[str],
        out: list[Record],
    ) -> None:
        """Cancel the orders and close the positions of the strategy that a FLATTEN_STRATEGY command names.

        It must be suspended or in `removed`, because one that runs could trade again. A command without the approval
        that the settings require has no effect.
        """
        if not self._accepts(command):
            return
        name = command.arguments.get("strategy", "")
        if name in removed or (name in strategies and name in self._suspended):
            self._flatten(ts_ns, strategies[name], [command.command_id], out)

    def _accepts(self, command: Command) -> bool:
        """Whether a command has the required approval and is not a duplicate."""
        if lacks_approval(command, self._approvals) or command.command_id in self._command_ids:
            return False
        self._command_ids[command.command_id] = None
        if len(self._command_ids) > COMMAND_IDS_MAX:
            del self._command_ids[next(iter(self._command_ids))]
        return True

    def snapshot(self) -> tuple[dict[str, str], list[str]]:
        """Return the suspended strategies with the ids of their suspensions, and the ids of the recent commands."""
        return dict(self._suspended), list(self._command_ids)

    def restore(self, suspended: dict[str, str], command_ids: Sequence[str]) -> None:
        """Restore a snapshot. A removed strategy stays suspended, in case it is added again."""
        self._suspended, self._command_ids = dict(suspended), dict.fromkeys(command_ids)
