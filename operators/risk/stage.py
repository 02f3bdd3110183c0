"""Proposals in, approved orders or refusals out."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from operators.manual import CANCEL_ORDER, SUBMIT_ORDER, BadTerms, order_id_of, proposal_of, storable
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
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    Record,
    RiskFence,
    order_id,
)

SNAPSHOT_VERSION = 3
RECONCILING, RECONCILED = "RECONCILING", "RECONCILED"
"""Commands of the gateway: it does not know what its broker has, and it knows again."""
REPEATS_KNOWN = 1000
"""How many of the last orders by hand are known by their command: a sender that is unsure sends the command again."""


class RiskStage:
    """Reads executions, commands, bars and proposals, in this order within a tick; writes `Order`, `OrderCancel`,
    `RiskFence` (one `seq` for all three) and `OrderRefusal` (its own `seq`).

    Orders by hand are judged last in their tick, at the prices of that tick, by the same checks as all others.

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
        self._by_hand: dict[str, None] = {}  # commands that were an order, oldest first

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        by_hand: list[Command] = []
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
                command = storable(record)
                if command.kind in (SUBMIT_ORDER, CANCEL_ORDER):
                    by_hand.append(command)
                else:
                    out += self._obey(ts_ns, command)
        for command in by_hand:
            out += self._take_by_hand(ts_ns, command)
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

    def _decide(self, ts_ns: int, proposal: OrderProposal, by_hand: Command | None = None) -> Order | OrderRefusal:
        view = View(proposal, self._book, self._history, self.settings, ts_ns)
        checks: list[CheckResult] = []
        for check in self._checks:
            verdict = check(proposal, view, self.settings)
            if isinstance(verdict, Refusal):
                terms = (proposal.symbol, proposal.side, proposal.quantity)
                return self._refuse(ts_ns, proposal.proposal_id, terms, verdict)
            checks.append(verdict)
        self._order_seq += 1
        name = order_id(self._order_seq) if by_hand is None else order_id_of(by_hand.command_id)
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

    def _refuse(self, ts_ns: int, cause_id: str, terms: tuple[str, str, Decimal], verdict: Refusal) -> OrderRefusal:
        self._refusal_seq += 1
        return OrderRefusal(self._refusal_seq, ts_ns, cause_id, *terms, *verdict)

    def _take_by_hand(self, ts_ns: int, command: Command) -> list[Record]:
        """An order or a cancel by a person. A cancel is never held back; of an order that is not open there is none."""
        if command.kind == CANCEL_ORDER:
            asked = command.arguments.get("order_id", "")
            symbol = self._book.symbol_of.get(asked)
            if symbol is None:
                return []
            self._order_seq += 1
            return [OrderCancel(self._order_seq, ts_ns, asked, symbol, command.reason, command.command_id)]
        if command.command_id in self._by_hand:
            return []
        self._by_hand[command.command_id] = None
        if len(self._by_hand) > REPEATS_KNOWN:
            del self._by_hand[next(iter(self._by_hand))]
        proposal = proposal_of(command, ts_ns)
        if not isinstance(proposal, BadTerms):
            return [self._decide(ts_ns, proposal, command)]
        message = f"order_terms: {proposal.symbol} {proposal.found}, must be {proposal.limit}"
        verdict = Refusal("order_terms", proposal.found, proposal.limit, message)
        return [self._refuse(ts_ns, command.command_id, proposal[:3], verdict)]

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
        counts = (self._order_seq, self._refusal_seq)
        return (SNAPSHOT_VERSION, *counts, self._book.snapshot(), self._history.snapshot(), list(self._by_hand))

    def restore(self, snapshot: Any) -> None:
        version, *state = snapshot
        assert version in (2, SNAPSHOT_VERSION), f"risk snapshot: version {version} is not 2 or {SNAPSHOT_VERSION}"
        # Version 2 knew no orders by hand.
        self._order_seq, self._refusal_seq, book, history, *rest = state
        self._book.restore(book)
        self._history.restore(history)
        self._by_hand = dict.fromkeys(rest[0] if rest else ())
