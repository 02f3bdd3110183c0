"""The risk stage: approve or reject each proposed order."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from operators.manual_orders import (
    CANCEL_ORDER,
    SUBMIT_ORDER,
    InvalidTerms,
    bracket_exits,
    order_id_of,
    parse_proposal,
    without_nul,
)
from operators.money import ZERO, plain
from operators.risk.book import OpenOrder, RiskBook
from operators.risk.breaker_meters import BreakerMeters
from operators.risk.breakers import PORTFOLIO, SEVERITY, SYMBOL, BreakerChange, Breakers
from operators.risk.checks import enabled_checks
from operators.risk.commands import (
    AMEND_ORDER,
    RECONCILED,
    RECONCILING,
    SET_BREAKER,
    amend_proposal,
    parse_breaker_command,
)
from operators.risk.corporate_actions import RiskCorporateActions
from operators.risk.history import RiskHistory
from operators.risk.margin import MarginSettings, forced_reduction, requirement
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.usage import LimitUtilization, limit_utilization, margin_positions
from operators.risk.verdict import Refusal
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
"""Measure of the margin-call event, and strategy name of the orders of a forced reduction."""
COMMAND_IDS_MAX = 1000
"""Number of command ids of manual orders that are retained to discard duplicates. A client may retry a command."""


class RiskStage:
    """The logic of the risk service.

    Inputs, in this order within a time slice: reference data, executions, commands, bars and proposals. Outputs:
    `Order`, `OrderCancel` and `RiskFence` (with a common `seq`), `OrderRefusal` (with its own `seq`), and `RiskEvent`
    and `RiskUsage` (with a common `seq`).

    Manual orders are checked last in their time slice, at its prices, by the same checks as all other orders.

    An approved order counts as filled in every later check until its execution reports arrive. The kill switch
    increments the risk epoch and publishes a fence, the record that halts or releases trading. Each approved order
    contains the epoch. The venue and the gateway reject orders with an older epoch.
    """

    def __init__(self, settings: RiskSettings) -> None:
        self.settings = settings
        self._book = RiskBook(settings.initial_capital, settings.instruments, settings.account_currency)
        self._history = RiskHistory(settings, settings.initial_capital)
        self._checks = enabled_checks(settings)
        self._breakers = Breakers(settings.all_breakers())
        self._meters = BreakerMeters(settings.all_breakers(), settings.initial_capital)
        self._corporate_actions = self._build_corporate_actions()
        self._fence_state = ACTIVE  # the state of the last fence
        self._margin_call = False  # whether a margin call is active
        self._usage_written_ns = 0  # when the limit usage was last published
        self._last_usage: list[LimitUtilization] = []  # the last published limit usage
        self._order_seq = 0
        self._refusal_seq = 0
        self._event_seq = 0
        self._manual_commands: dict[str, None] = {}  # ids of recent manual-order commands, oldest first

    @property
    def book(self) -> RiskBook:
        """The positions, cash and open orders that the checks use. Read-only."""
        return self._book

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        proposals: list[OrderProposal] = []
        manual_commands: list[Command] = []
        book, last_bars = self._book, self._book.last_bars
        self._open_day(records)
        self._corporate_actions.apply_due(ts_ns, records, book.trading_day)
        if self._history.needs_bars:
            self._history.fold_bars(records)
        if self._meters.needs_bars:
            self._meters.fold_bars(records)
        for record in records:
            kind = type(record)
            if kind is Bar:
                last_bars[record.symbol] = record  # type: ignore[union-attr, assignment]
            elif isinstance(record, OrderProposal):
                proposals.append(record)
            elif isinstance(record, Execution):
                if self._meters.is_enabled:
                    terms = book.terms.get(record.order_id)
                    self._meters.fold_execution(record, "" if terms is None else terms.strategy)
                book.fold_execution(record)
                self._history.fold_execution(record)
            elif isinstance(record, GatewayStatus):
                book.reconciling = "" if record.state == READY else f"{record.state.lower()}: {record.reason}"
            elif isinstance(record, Command):
                command = without_nul(record)
                self._meters.fold_command(ts_ns, command)
                if command.kind in (SUBMIT_ORDER, CANCEL_ORDER, AMEND_ORDER):
                    manual_commands.append(command)
                else:
                    out += self._apply_command(ts_ns, command)
        if self._meters.is_enabled:
            for change in self._breakers.update(ts_ns, self._meters.measure(ts_ns, book)):
                out += self._apply_breaker_change(ts_ns, change, f"tick-{ts_ns}")
        if self.settings.margin is not None:
            out += self._check_margin(ts_ns, self.settings.margin)
        out += [self._check_proposal(ts_ns, proposal) for proposal in proposals]
        for command in manual_commands:
            out += self._apply_manual_command(ts_ns, command)
        self._history.fold_equity(book)
        if self.settings.usage_interval_s:
            out += self._write_usage(ts_ns)
        return out

    def _build_corporate_actions(self) -> RiskCorporateActions:
        settings = self.settings
        return RiskCorporateActions(
            settings.accruals, settings.account_currency, self._book, self._history, self._meters
        )

    def _open_day(self, records: Sequence[Record]) -> None:
        """Start a trading day with its first bar. Record the opening equity before the day's prices and executions."""
        first_bar = next((record for record in records if type(record) is Bar), None)
        if first_bar is None or first_bar.trading_day <= self._book.trading_day:
            return
        self._corporate_actions.open_day(self._book.trading_day, first_bar.trading_day)
        self._book.trading_day = first_bar.trading_day
        self._history.open_day(first_bar.trading_day, self._book)
        equity = self._book.equity()
        if equity is not None:
            self._book.day_start_equity = equity

    def _check_proposal(
        self, ts_ns: int, proposal: OrderProposal, new_id: str = "", replaces: str = "", filled: Decimal = ZERO
    ) -> Order | OrderRefusal:
        """Run all checks. `filled` is the quantity that the replaced order has already traded."""
        remaining_order = proposal._replace(quantity=proposal.quantity - filled) if filled else proposal
        context = OrderContext(
            remaining_order,
            self._book,
            self._history,
            self._breakers,
            self.settings,
            ts_ns,
            is_amendment=bool(replaces),
        )
        checks: list[CheckResult] = []
        for check in self._checks:
            verdict = check(remaining_order, context, self.settings)
            if isinstance(verdict, Refusal):
                terms = (proposal.symbol, proposal.side, proposal.quantity)
                return self._refuse(ts_ns, proposal.proposal_id, terms, verdict)
            checks.append(verdict)
        self._order_seq += 1
        new_id = new_id or order_id(self._order_seq)
        open_order = OpenOrder(
            proposal.side, remaining_order.quantity, context.unit_value, proposal.limit_price, proposal.reduce_only
        )
        self._book.add_order(new_id, proposal, open_order)
        self._history.record_approval(remaining_order, ts_ns)
        return Order(
            self._order_seq,
            ts_ns,
            new_id,
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

    def _apply_manual_command(self, ts_ns: int, command: Command) -> list[Record]:
        """Process a manual order, amendment or cancel. A cancel skips the checks; one for a closed order is ignored."""
        if command.kind == CANCEL_ORDER:
            target_id = command.arguments.get("order_id", "")
            symbol = self._book.symbol_of.get(target_id)
            if symbol is None:
                return []
            self._order_seq += 1
            return [OrderCancel(self._order_seq, ts_ns, target_id, symbol, command.reason, command.command_id)]
        if command.kind == AMEND_ORDER:
            return self._check_amendment(ts_ns, command)
        if command.command_id in self._manual_commands:
            return []
        self._manual_commands[command.command_id] = None
        if len(self._manual_commands) > COMMAND_IDS_MAX:
            del self._manual_commands[next(iter(self._manual_commands))]
        proposal = parse_proposal(command, ts_ns)
        if not isinstance(proposal, InvalidTerms):
            return self._check_bracket(ts_ns, command, proposal)
        message = f"order_terms: {proposal.symbol} {proposal.value}, expected {proposal.expected}"
        verdict = Refusal("order_terms", proposal.value, proposal.expected, message)
        return [self._refuse(ts_ns, command.command_id, proposal[:3], verdict)]

    def _check_bracket(self, ts_ns: int, command: Command, proposal: OrderProposal) -> list[Record]:
        """Check a manual order and, if it is approved, the exit orders of its bracket."""
        decision = self._check_proposal(ts_ns, proposal, order_id_of(command.command_id))
        if not isinstance(decision, Order):
            return [decision]
        exits = [
            self._check_proposal(ts_ns, exit_proposal, order_id_of(exit_proposal.proposal_id))
            for exit_proposal in bracket_exits(command, proposal)
        ]
        return [decision, *exits]

    def _check_amendment(self, ts_ns: int, command: Command) -> list[Record]:
        """Check an amended order without the old one. Both count as open until the venue reports the replacement."""
        old_id, book = command.arguments.get("order_id", ""), self._book
        old_terms = book.terms.get(old_id)
        if old_terms is None:
            return []
        try:
            new_terms = amend_proposal(command, old_terms)
        except BadInput as error:
            text = str(error)
            verdict = Refusal("order_terms", text, "valid terms", f"order_terms: {old_terms.symbol} {text}")
            return [
                self._refuse(ts_ns, command.command_id, (old_terms.symbol, old_terms.side, old_terms.quantity), verdict)
            ]
        open_order = book.remove_order(old_id)
        filled = old_terms.quantity - open_order.leaves
        self._history.record_amendment(ts_ns)
        decision = self._check_proposal(ts_ns, new_terms, order_id_of(command.command_id), old_id, filled)
        book.restore_order(old_id, open_order)
        return [decision]

    def _apply_command(self, ts_ns: int, command: Command) -> list[Record]:
        """Apply a command other than an order. A command that does not change the state has no effect.

        KILL_SWITCH halts trading, RELEASE resumes it, SET_BREAKER sets a breaker. RECONCILING blocks new orders until
        RECONCILED.
        """
        book = self._book
        if command.kind in (RECONCILING, RECONCILED):
            book.reconciling = (command.reason or "no reason given") if command.kind == RECONCILING else ""
        if command.kind in (KILL_SWITCH, RELEASE):
            book.state = HALTED if command.kind == KILL_SWITCH else ACTIVE
            return self._write_fence(ts_ns, command.reason, command.command_id)
        if command.kind != SET_BREAKER:
            return []
        try:
            request = parse_breaker_command(command)
        except BadInput:
            # The API validates a command before it publishes it, so an invalid one here is discarded.
            return []
        out: list[Record] = []
        for change in self._breakers.set_manually(ts_ns, *request, command.actor, command.reason):
            out += self._apply_breaker_change(ts_ns, change, command.command_id)
        return out

    def _apply_breaker_change(self, ts_ns: int, change: BreakerChange, cause_id: str) -> list[Record]:
        """Publish a breaker change as an event, and enforce it at the venue with a fence or with cancels."""
        breaker = change.breaker
        self._event_seq += 1
        subject = (breaker.measure, breaker.scope, change.key, change.state)
        details = (change.value, plain(breaker.threshold), change.actor, change.reason, cause_id)
        out: list[Record] = [RiskEvent(self._event_seq, ts_ns, *subject, *details)]
        if breaker.scope == PORTFOLIO:
            return out + self._write_fence(ts_ns, change.reason, cause_id)
        if change.state == ACTIVE:
            return out
        for open_order_id, terms in self._book.terms.items():
            if change.key != (terms.symbol if breaker.scope == SYMBOL else terms.strategy):
                continue
            if change.state == HALTED or not self._only_reduces(terms):
                self._order_seq += 1
                out.append(OrderCancel(self._order_seq, ts_ns, open_order_id, terms.symbol, change.reason, cause_id))
        return out

    def _check_margin(self, ts_ns: int, rules: MarginSettings) -> list[Record]:
        """Reduce positions while equity is below the maintenance margin, by reduce-only market orders.

        `forced_reduction` selects the trades. The orders must pass the risk checks. No further orders are sent until
        these have ended.
        """
        book = self._book
        if book.unpriced_symbol() is not None:
            return []
        positions = margin_positions(book, self.settings)
        equity = book.equity()
        assert equity is not None, "every symbol in the book has a price"
        required = sum(
            (
                requirement(rules, position.instrument, position.quantity, position.price).maintenance
                for position in positions
            ),
            ZERO,
        )
        cause = f"margin-{ts_ns}"
        out: list[Record] = []
        if self._margin_call is not (equity < required):
            self._margin_call = equity < required
            self._event_seq += 1
            subject = (MARGIN_CALL, PORTFOLIO, "", REDUCING if self._margin_call else ACTIVE)
            reason = f"equity is {plain(equity)}, maintenance margin {plain(required)}"
            out.append(
                RiskEvent(self._event_seq, ts_ns, *subject, plain(equity), plain(required), "automatic", reason, cause)
            )
        if not self._margin_call or any(terms.strategy == MARGIN_CALL for terms in book.terms.values()):
            return out
        for symbol, quantity in forced_reduction(rules, equity, positions):
            side = BUY if quantity > 0 else SELL
            terms = (symbol, side, abs(quantity), MARKET, None, DAY, MARGIN_CALL, ZERO, "margin call")
            proposal = OrderProposal(0, ts_ns, f"{cause}-{symbol}", *terms, [], reduce_only=True)
            # The id has the form of a manual order's id, so that no strategy reverses the trade.
            out.append(self._check_proposal(ts_ns, proposal, order_id_of(proposal.proposal_id)))
        return out

    def _write_usage(self, ts_ns: int) -> list[Record]:
        """Publish the limit usage that has changed since it was last published."""
        if ts_ns - self._usage_written_ns < self.settings.usage_interval_s * 1_000_000_000:
            return []
        previous, self._last_usage = self._last_usage, list(limit_utilization(self._book, self._history, self.settings))
        self._usage_written_ns = ts_ns
        current_keys = {(row.measure, row.scope_key) for row in self._last_usage}
        # The book has no entry for a closed position. Publish a usage of 0 for it.
        closed = [row for row in previous if row.scope_key and (row.measure, row.scope_key) not in current_keys]
        previously_written = set(previous)
        out: list[Record] = []
        for row in [*self._last_usage, *(row._replace(used=ZERO) for row in closed if self._last_usage)]:
            if row not in previously_written:
                self._event_seq += 1
                out.append(RiskUsage(self._event_seq, ts_ns, *row, row.share))
        return out

    def _only_reduces(self, terms: OrderProposal) -> bool:
        return terms.reduce_only or terms.quantity <= self._book.positions[terms.symbol].closable(terms.side)

    def _write_fence(self, ts_ns: int, reason: str, cause_id: str) -> list[Record]:
        """Publish a fence if the more severe of kill switch and portfolio breakers differs from the last fence."""
        state = max(self._book.state, self._breakers.state(PORTFOLIO, ""), key=SEVERITY.__getitem__)
        if state == self._fence_state:
            return []
        self._fence_state = state
        self._book.epoch += 1
        self._order_seq += 1
        return [RiskFence(self._order_seq, ts_ns, self._book.epoch, state, reason, cause_id)]

    def snapshot(self) -> Any:
        counts = (
            self._order_seq,
            self._refusal_seq,
            self._event_seq,
            self._fence_state,
            self._margin_call,
            self._usage_written_ns,
        )
        components = (self._book, self._history, self._breakers, self._meters, self._corporate_actions)
        tail = (list(self._manual_commands), [tuple(row) for row in self._last_usage])
        return (SNAPSHOT_VERSION, counts, *(component.snapshot() for component in components), *tail)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Version 4 contains no corporate actions, no lag and no amendment rate."""
        version, *state = snapshot
        assert version in (4, SNAPSHOT_VERSION), f"risk snapshot: version {version}, expected 4 or {SNAPSHOT_VERSION}"
        if version == 4:
            counts, book, history, breakers, meters, *rest = state
            state = [
                counts,
                (*book, []),
                (*history, []),
                breakers,
                (*meters, None),
                self._corporate_actions.snapshot(),
                *rest,
            ]
        counts, book, history, breakers, meters, corporate_actions, manual_commands, usage_rows = state
        (
            self._order_seq,
            self._refusal_seq,
            self._event_seq,
            self._fence_state,
            self._margin_call,
            self._usage_written_ns,
        ) = counts
        self._book.restore(book)
        self._history.restore(history)
        self._breakers.restore(breakers)
        self._meters.restore(meters)
        self._corporate_actions.restore(corporate_actions)
        self._manual_commands = dict.fromkeys(manual_commands)
        self._last_usage = [LimitUtilization(*row) for row in usage_rows]
