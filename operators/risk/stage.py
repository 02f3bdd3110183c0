"""Proposals in, approved orders or refusals out."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from operators.manual_orders import CANCEL_ORDER, SUBMIT_ORDER, BadTerms, exits_of, order_id_of, proposal_of, storable
from operators.money import ZERO, plain
from operators.risk.book import OpenOrder, RiskBook
from operators.risk.breakers import PORTFOLIO, SEVERITY, SYMBOL, Breakers, Change
from operators.risk.checks import checks_for
from operators.risk.claims import Claims
from operators.risk.commands import AMEND_ORDER, RECONCILED, RECONCILING, SET_BREAKER, amended, breaker_of
from operators.risk.history import History
from operators.risk.margin import MarginSettings, forced_reduction, requirement
from operators.risk.meters import Meters
from operators.risk.settings import RiskSettings
from operators.risk.usage import Usage, held_of, usage
from operators.risk.verdict import Refusal
from operators.risk.view import View
from schemas.errors import BadInput
from schemas.records import (
    ACTIVE,
    BUY,
    DAY,
    HALTED,
    KILL_SWITCH,
    MARKET,
    READY,
    REDUCING,
    RELEASE,
    SELL,
    Bar,
    CheckResult,
    Command,
    Execution,
    GatewayStatus,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    Record,
    RiskEvent,
    RiskFence,
    RiskUsage,
    order_id,
)

SNAPSHOT_VERSION = 5
MARGIN_CALL = "margin_call"
"""The event, and the strategy that stands on the orders of a forced reduction."""
REPEATS_KNOWN = 1000
"""How many of the last orders by hand are known by their command: a sender that is unsure sends the command again."""


class RiskStage:
    """Reads reference data, executions, commands, bars and proposals, in this order within a tick. Writes `Order`,
    `OrderCancel` and `RiskFence` (one `seq` for all three), `OrderRefusal` (its own), `RiskEvent` and `RiskUsage`
    (theirs).

    Orders by hand are judged last in their tick, at the prices of that tick, by the same checks as all others.

    An approved order counts as filled in every later check until its executions say what became of it. The kill switch
    raises the risk epoch and writes a fence; approvals carry the epoch, and the gateway refuses an older one.
    """

    def __init__(self, settings: RiskSettings) -> None:
        self.settings = settings
        self._book = RiskBook(settings.initial_capital, settings.instruments, settings.account_currency)
        self._history = History(settings, settings.initial_capital)
        self._checks = checks_for(settings)
        self._breakers = Breakers(settings.all_breakers())
        self._meters = Meters(settings.all_breakers(), settings.initial_capital)
        self._claims = self._claimed()
        self._fenced = ACTIVE  # the state of the last fence
        self._called = False  # a margin call is in force
        self._usage_ns = 0  # when the usage of limits was last written
        self._usage: list[Usage] = []  # and what it was
        self._order_seq = 0
        self._refusal_seq = 0
        self._event_seq = 0
        self._by_hand: dict[str, None] = {}  # commands that were an order, oldest first

    @property
    def book(self) -> RiskBook:
        """What risk holds to be so, for reading."""
        return self._book

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        proposals: list[OrderProposal] = []
        by_hand: list[Command] = []
        book, last = self._book, self._book.last
        self._open_day(records)
        self._claims.take_effect(ts_ns, records, book.trading_day)
        if self._history.bars_wanted:
            self._history.fold_bars(records)
        if self._meters.bars_wanted:
            self._meters.fold_bars(records)
        for record in records:
            kind = type(record)
            if kind is Bar:
                last[record.symbol] = record  # type: ignore[union-attr, assignment]
            elif isinstance(record, OrderProposal):
                proposals.append(record)
            elif isinstance(record, Execution):
                if self._meters.anything:
                    terms = book.terms.get(record.order_id)
                    self._meters.fold_execution(record, "" if terms is None else terms.strategy)
                book.fold_execution(record)
                self._history.fold_execution(record)
            elif isinstance(record, GatewayStatus):
                book.reconciling = "" if record.state == READY else f"{record.state.lower()}: {record.reason}"
            elif isinstance(record, Command):
                command = storable(record)
                self._meters.fold_command(ts_ns, command)
                if command.kind in (SUBMIT_ORDER, CANCEL_ORDER, AMEND_ORDER):
                    by_hand.append(command)
                else:
                    out += self._obey(ts_ns, command)
        if self._meters.anything:
            for change in self._breakers.step(ts_ns, self._meters.measure(ts_ns, book)):
                out += self._take_change(ts_ns, change, f"tick-{ts_ns}")
        if self.settings.margin is not None:
            out += self._call_margin(ts_ns, self.settings.margin)
        out += [self._decide(ts_ns, proposal) for proposal in proposals]
        for command in by_hand:
            out += self._take_by_hand(ts_ns, command)
        self._history.fold_equity(book)
        if self.settings.usage_interval_s:
            out += self._write_usage(ts_ns)
        return out

    def _claimed(self) -> Claims:
        settings = self.settings
        return Claims(settings.accruals, settings.account_currency, self._book, self._history, self._meters)

    def _open_day(self, records: Sequence[Record]) -> None:
        """With the first bar of a later trading day, before its prices and executions, the day's equity is struck."""
        first = next((record for record in records if type(record) is Bar), None)
        if first is None or first.trading_day <= self._book.trading_day:
            return
        self._claims.open_day(self._book.trading_day, first.trading_day)
        self._book.trading_day = first.trading_day
        self._history.open_day(first.trading_day, self._book)
        equity = self._book.equity()
        if equity is not None:
            self._book.day_equity = equity

    def _decide(
        self, ts_ns: int, proposal: OrderProposal, name: str = "", replaces: str = "", filled: Decimal = ZERO
    ) -> Order | OrderRefusal:
        """Ask every check. `filled` of the quantity was traded by the order that this one replaces."""
        asked = proposal._replace(quantity=proposal.quantity - filled) if filled else proposal
        view = View(asked, self._book, self._history, self._breakers, self.settings, ts_ns, amends=bool(replaces))
        checks: list[CheckResult] = []
        for check in self._checks:
            verdict = check(asked, view, self.settings)
            if isinstance(verdict, Refusal):
                terms = (proposal.symbol, proposal.side, proposal.quantity)
                return self._refuse(ts_ns, proposal.proposal_id, terms, verdict)
            checks.append(verdict)
        self._order_seq += 1
        name = name or order_id(self._order_seq)
        open_order = OpenOrder(proposal.side, asked.quantity, view.unit, proposal.limit_price, proposal.reduce_only)
        self._book.add_order(name, proposal, open_order)
        self._history.remember(asked, ts_ns)
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
            proposal.stop_price,
            proposal.trail_amount,
            proposal.trail_percent,
            proposal.expires_ns,
            proposal.reduce_only,
            proposal.group_id,
            proposal.parent_id,
            replaces,
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
        if command.kind == AMEND_ORDER:
            return self._amend(ts_ns, command)
        if command.command_id in self._by_hand:
            return []
        self._by_hand[command.command_id] = None
        if len(self._by_hand) > REPEATS_KNOWN:
            del self._by_hand[next(iter(self._by_hand))]
        proposal = proposal_of(command, ts_ns)
        if not isinstance(proposal, BadTerms):
            return self._decide_with_exits(ts_ns, command, proposal)
        message = f"order_terms: {proposal.symbol} {proposal.found}, must be {proposal.limit}"
        verdict = Refusal("order_terms", proposal.found, proposal.limit, message)
        return [self._refuse(ts_ns, command.command_id, proposal[:3], verdict)]

    def _decide_with_exits(self, ts_ns: int, command: Command, proposal: OrderProposal) -> list[Record]:
        """An order by hand, and where it is a bracket's and approved, the orders that close it."""
        decided = self._decide(ts_ns, proposal, order_id_of(command.command_id))
        if not isinstance(decided, Order):
            return [decided]
        exits = [self._decide(ts_ns, one, order_id_of(one.proposal_id)) for one in exits_of(command, proposal)]
        return [decided, *exits]

    def _amend(self, ts_ns: int, command: Command) -> list[Record]:
        """Judge the changed order as if the old one were gone; until the venue says which works, both count."""
        old_id, book = command.arguments.get("order_id", ""), self._book
        old = book.terms.get(old_id)
        if old is None:
            return []
        try:
            new = amended(command, old)
        except BadInput as error:
            text = str(error)
            verdict = Refusal("order_terms", text, "an order", f"order_terms: {old.symbol} {text}")
            return [self._refuse(ts_ns, command.command_id, (old.symbol, old.side, old.quantity), verdict)]
        waiting = book.set_aside(old_id)
        filled = old.quantity - waiting.leaves
        self._history.note_amend(ts_ns)
        answer = self._decide(ts_ns, new, order_id_of(command.command_id), old_id, filled)
        book.put_back(old_id, waiting)
        return [answer]

    def _obey(self, ts_ns: int, command: Command) -> list[Record]:
        """KILL_SWITCH halts, RELEASE takes that back, SET_BREAKER sets a breaker; in the state already: nothing."""
        book = self._book
        if command.kind in (RECONCILING, RECONCILED):
            book.reconciling = (command.reason or "no reason given") if command.kind == RECONCILING else ""
        if command.kind in (KILL_SWITCH, RELEASE):
            book.state = HALTED if command.kind == KILL_SWITCH else ACTIVE
            return self._fence(ts_ns, command.reason, command.command_id)
        if command.kind != SET_BREAKER:
            return []
        try:
            asked = breaker_of(command)
        except BadInput:
            # Nobody waits for an answer here; the API tells its caller before it writes such a command.
            return []
        out: list[Record] = []
        for change in self._breakers.by_hand(ts_ns, *asked, command.actor, command.reason):
            out += self._take_change(ts_ns, change, command.command_id)
        return out

    def _take_change(self, ts_ns: int, change: Change, cause_id: str) -> list[Record]:
        """A breaker changed: an event, and a fence or cancels that make it so at the venue."""
        breaker = change.breaker
        self._event_seq += 1
        at = (breaker.measure, breaker.scope, change.key, change.state)
        why = (change.found, plain(breaker.threshold), change.actor, change.reason, cause_id)
        out: list[Record] = [RiskEvent(self._event_seq, ts_ns, *at, *why)]
        if breaker.scope == PORTFOLIO:
            return out + self._fence(ts_ns, change.reason, cause_id)
        if change.state == ACTIVE:
            return out
        for name, terms in self._book.terms.items():
            if change.key != (terms.symbol if breaker.scope == SYMBOL else terms.strategy):
                continue
            if change.state == HALTED or not self._only_reduces(terms):
                self._order_seq += 1
                out.append(OrderCancel(self._order_seq, ts_ns, name, terms.symbol, change.reason, cause_id))
        return out

    def _call_margin(self, ts_ns: int, rules: MarginSettings) -> list[Record]:
        """Where equity no longer covers the maintenance margin, close what `forced_reduction` says, by market orders
        that only reduce. They pass the checks like all others; further ones wait until these have ended."""
        book = self._book
        if book.unpriced() is not None:
            return []
        held = held_of(book, self.settings)
        equity = book.equity()
        assert equity is not None, "every symbol in the book has a price"
        needed = sum((requirement(rules, o.instrument, o.quantity, o.price).maintenance for o in held), ZERO)
        cause = f"margin-{ts_ns}"
        out: list[Record] = []
        if self._called is not (equity < needed):
            self._called = equity < needed
            self._event_seq += 1
            at = (MARGIN_CALL, PORTFOLIO, "", REDUCING if self._called else ACTIVE)
            reason = f"equity {plain(equity)}, maintenance margin {plain(needed)}"
            out.append(RiskEvent(self._event_seq, ts_ns, *at, plain(equity), plain(needed), "automatic", reason, cause))
        if not self._called or any(terms.strategy == MARGIN_CALL for terms in book.terms.values()):
            return out
        for symbol, quantity in forced_reduction(rules, equity, held):
            side = BUY if quantity > 0 else SELL
            terms = (symbol, side, abs(quantity), MARKET, None, DAY, MARGIN_CALL, ZERO, "margin call")
            proposal = OrderProposal(0, ts_ns, f"{cause}-{symbol}", *terms, [], reduce_only=True)
            # Under an id like that of an order by hand: it is no strategy's, and none may undo it.
            out.append(self._decide(ts_ns, proposal, order_id_of(proposal.proposal_id)))
        return out

    def _write_usage(self, ts_ns: int) -> list[Record]:
        """What has changed of the limits' usage since it was last written."""
        if ts_ns - self._usage_ns < self.settings.usage_interval_s * 1_000_000_000:
            return []
        before, self._usage = self._usage, list(usage(self._book, self._history, self.settings))
        self._usage_ns = ts_ns
        shown = {(one.measure, one.scope_key) for one in self._usage}
        # The book forgets a closed position; what was written of it last must not stand for ever.
        closed = [one for one in before if one.scope_key and (one.measure, one.scope_key) not in shown]
        written = set(before)
        out: list[Record] = []
        for one in [*self._usage, *(one._replace(used=ZERO) for one in closed if self._usage)]:
            if one not in written:
                self._event_seq += 1
                out.append(RiskUsage(self._event_seq, ts_ns, *one, one.share))
        return out

    def _only_reduces(self, terms: OrderProposal) -> bool:
        return terms.reduce_only or terms.quantity <= self._book.holdings[terms.symbol].closable(terms.side)

    def _fence(self, ts_ns: int, reason: str, cause_id: str) -> list[Record]:
        """A fence where the worse of kill switch and portfolio breakers is not what the last fence said."""
        state = max(self._book.state, self._breakers.state(PORTFOLIO, ""), key=SEVERITY.__getitem__)
        if state == self._fenced:
            return []
        self._fenced = state
        self._book.epoch += 1
        self._order_seq += 1
        return [RiskFence(self._order_seq, ts_ns, self._book.epoch, state, reason, cause_id)]

    def snapshot(self) -> Any:
        counts = (self._order_seq, self._refusal_seq, self._event_seq, self._fenced, self._called, self._usage_ns)
        parts = (self._book, self._history, self._breakers, self._meters, self._claims)
        rest = (list(self._by_hand), [tuple(one) for one in self._usage])
        return (SNAPSHOT_VERSION, counts, *(part.snapshot() for part in parts), *rest)

    def restore(self, snapshot: Any) -> None:
        """Version 4 knew nothing that comes without a trade, no lag and no rate of changes."""
        version, *state = snapshot
        assert version in (4, SNAPSHOT_VERSION), f"risk snapshot: version {version} is not known"
        if version == 4:
            counts, book, history, breakers, meters, *rest = state
            state = [counts, (*book, []), (*history, []), breakers, (*meters, None), self._claims.snapshot(), *rest]
        counts, book, history, breakers, meters, claims, by_hand, used = state
        self._order_seq, self._refusal_seq, self._event_seq, self._fenced, self._called, self._usage_ns = counts
        self._book.restore(book)
        self._history.restore(history)
        self._breakers.restore(breakers)
        self._meters.restore(meters)
        self._claims.restore(claims)
        self._by_hand = dict.fromkeys(by_hand)
        self._usage = [Usage(*one) for one in used]
