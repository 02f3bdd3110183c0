"""Deliver records to the handlers of trading strategies, each isolated from the others, and publish their actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from operators.raised_error import RaisedError
from operators.trading.accounts import StrategyFill
from operators.trading.market_events import MarketEvent
from operators.trading.order_updates import OrderUpdate, cross_fill, fill_of
from operators.trading.running_strategy import RunningStrategy
from operators.trading.suspensions import ActionLog, Suspensions
from schemas.records import CorporateAction, DataRow, Execution, InternalCross, Record, TradingStatus


class ReferenceEvent(NamedTuple):
    """A corporate action or a halt, its id, and the strategies whose universe contained its symbol before."""

    event_id: str
    event: CorporateAction | TradingStatus
    strategies: frozenset[str]


class StrategyDelivery:
    """Calls the handlers of the strategies in `running`. Their actions and suspensions are added to the list `out`."""

    def __init__(self, running: dict[str, RunningStrategy], actions: ActionLog, suspensions: Suspensions) -> None:
        self._running, self._actions, self._suspensions = running, actions, suspensions

    def evaluate(
        self,
        ts_ns: int,
        one: RunningStrategy,
        handler: Callable[..., Any],
        causes: Sequence[str],
        out: list[Record],
        *arguments: Any,
    ) -> None:
        """Call a handler of a strategy that is not suspended. Publish its actions, or suspend it."""
        if one.name in self._suspensions:
            return
        result = one.evaluate(ts_ns, handler, causes, *arguments)
        if isinstance(result, RaisedError):
            self._suspensions.suspend(ts_ns, one, result._asdict() | {"line": str(result.line)}, causes, out)
            return
        out.extend(self._actions.record(ts_ns, one.name, action) for action in result)

    def pass_decisions(
        self,
        ts_ns: int,
        events: Sequence[ReferenceEvent],
        updates: dict[str, list[OrderUpdate]],
        out: list[Record],
    ) -> None:
        """Pass corporate actions, halts and decisions to the strategies."""
        for name, one in self._running.items():
            if one.has_on_event:
                received = [(event_id, event) for event_id, event, concerned in events if name in concerned]
                one.universe.names.readable = frozenset(event.symbol for _, event in received)
                for event_id, event in received:
                    self.evaluate(ts_ns, one, one.strategy.on_event, [event_id], out, event)
                one.universe.names.readable = frozenset()
            for update in updates[name]:
                self.pass_update(ts_ns, one, update, out)

    def pass_rows(self, ts_ns: int, rows: Sequence[DataRow], out: list[Record]) -> None:
        """Pass new rows of the user's data to the strategies that declare it."""
        for one in self._running.values():
            for row in rows:
                if one.has_on_event and row.name in one.data:
                    self.evaluate(ts_ns, one, one.strategy.on_event, [row.row_id], out, row)

    def pass_market_events(self, ts_ns: int, events: Sequence[MarketEvent], out: list[Record]) -> None:
        """Pass quotes, headlines, sentiment scores and filings to the strategies that declare and can trade them."""
        for one in self._running.values():
            for event in events:
                if one.has_on_event and event.name in one.events and event.concerns(one.universe):
                    self.evaluate(ts_ns, one, one.strategy.on_event, [event.record_id], out, event.record)

    def pass_update(self, ts_ns: int, one: RunningStrategy, update: OrderUpdate, out: list[Record]) -> None:
        if one.has_on_order:
            causes = [update.order_id] if update.order_id else []
            self.evaluate(ts_ns, one, one.strategy.on_order, causes, out, update)

    def pass_fill(
        self, ts_ns: int, report: Execution, share: StrategyFill, known_id: str, tag: str, out: list[Record]
    ) -> None:
        one = self._running.get(share.strategy)
        if one is None or not one.has_on_fill:
            return
        fill = fill_of(report, share.quantity, share.fee, known_id, tag)
        self.evaluate(ts_ns, one, one.strategy.on_fill, [report.execution_id], out, fill)

    def pass_cross(self, ts_ns: int, cross: InternalCross, share: StrategyFill, out: list[Record]) -> None:
        """Pass one side of an internal cross to its strategy."""
        one = self._running.get(share.strategy)
        if one is not None and one.has_on_fill:
            fill = cross_fill(cross, share.quantity)
            self.evaluate(ts_ns, one, one.strategy.on_fill, [cross.cross_id], out, fill)
