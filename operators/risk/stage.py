"""Proposals in, approved orders or refusals out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.risk.book import OpenOrder, RiskBook
from operators.risk.checks import checks_for
from operators.risk.history import History
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal
from operators.risk.view import View
from schemas.records import (
    ACTIVE,
    HALTED,
    KILL_SWITCH,
    RELEASE,
    Bar,
    CheckResult,
    Command,
    Execution,
    Order,
    OrderProposal,
    OrderRefusal,
    Record,
    RiskFence,
    order_id,
)

SNAPSHOT_VERSION = 2
RECONCILING, RECONCILED = "RECONCILING", "RECONCILED"
"""Commands of the gateway: it does not know what its broker has, and it knows again."""


class RiskStage:
    """Reads executions, commands, bars and proposals, in this order within a tick; writes `Order`, `RiskFence` (one
    `seq` for both) and `OrderRefusal` (its own `seq`).

    An approved order counts as filled in every later check until its executions say what became of it. The kill switch
    raises the risk epoch and writes a fence; approvals carry the epoch, and the gateway refuses an older one.
    """

    def __init__(self, settings: RiskSettings) -> None:
        self.settings = settings
        self._book = RiskBook(settings.initial_capital, settings.instruments)
        self._history = History(settings, settings.initial_capital)
        self._checks = checks_for(settings)
        self._order_seq = 0
        self._refusal_seq = 0

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        book, last = self._book, self._book.last
        self._open_day(records)
        if self._history.bars_wanted:
            self._history.fold_bars(records)
        for record in records:
            kind = type(record)
            if kind is Bar:
                last[record.symbol] = record  # type: ignore[union-attr, assignment]
            elif isinstance(record, OrderProposal):
                out.append(self._decide(ts_ns, record))
            elif isinstance(record, Execution):
                book.fold_execution(record)
                self._history.fold_execution(record)
            elif isinstance(record, Command):
                out += self._obey(ts_ns, record)
        self._history.fold_equity(book)
        return out

    def _open_day(self, records: Sequence[Record]) -> None:
        """With the first bar of a later trading day, before its prices and executions, the day's equity is struck."""
        first = next((record for record in records if type(record) is Bar), None)
        if first is None or first.trading_day <= self._book.trading_day:
            return
        self._book.trading_day = first.trading_day
        self._history.open_day(first.trading_day, self._book)
        equity = self._book.equity()
        if equity is not None:
            self._book.day_equity = equity

    def _decide(self, ts_ns: int, proposal: OrderProposal) -> Order | OrderRefusal:
        view = View(proposal, self._book, self._history, self.settings, ts_ns)
        checks: list[CheckResult] = []
        for check in self._checks:
            verdict = check(proposal, view, self.settings)
            if isinstance(verdict, Refusal):
                self._refusal_seq += 1
                return OrderRefusal(
                    self._refusal_seq,
                    ts_ns,
                    proposal.proposal_id,
                    proposal.symbol,
                    proposal.side,
                    proposal.quantity,
                    verdict.check,
                    verdict.found,
                    verdict.limit,
                    verdict.message,
                )
            checks.append(verdict)
        self._order_seq += 1
        name = order_id(self._order_seq)
        self._book.add_order(
            name, proposal.symbol, OpenOrder(proposal.side, proposal.quantity, view.unit, proposal.limit_price)
        )
        self._history.remember(proposal, ts_ns)
        return Order(
            self._order_seq,
            ts_ns,
            name,
            proposal.proposal_id,
            proposal.symbol,
            proposal.side,
            proposal.quantity,
            proposal.order_type,
            proposal.limit_price,
            proposal.time_in_force,
            self._book.epoch,
            checks,
        )

    def _obey(self, ts_ns: int, command: Command) -> list[Record]:
        """KILL_SWITCH halts, RELEASE lets trade again; each raises the epoch. Asked for the state it is in: nothing."""
        wanted = {KILL_SWITCH: HALTED, RELEASE: ACTIVE}.get(command.kind)
        book = self._book
        if command.kind in (RECONCILING, RECONCILED):
            book.reconciling = (command.reason or "no reason given") if command.kind == RECONCILING else ""
        if wanted is None or wanted == book.state:
            return []
        book.state = wanted
        book.epoch += 1
        self._order_seq += 1
        return [RiskFence(self._order_seq, ts_ns, book.epoch, wanted, command.reason, command.command_id)]

    def snapshot(self) -> Any:
        return (SNAPSHOT_VERSION, self._order_seq, self._refusal_seq, self._book.snapshot(), self._history.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, *state = snapshot
        assert version == SNAPSHOT_VERSION, f"risk snapshot: version {version} is not known, not {SNAPSHOT_VERSION}"
        self._order_seq, self._refusal_seq, book, history = state
        self._book.restore(book)
        self._history.restore(history)
