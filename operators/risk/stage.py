"""The risk stage: approve or reject each proposed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from operators.approvals import lacks_approval
from operators.manual_orders import order_id_of, without_nul
from operators.risk.book import RiskBook
from operators.risk.breaker_meters import BreakerMeters
from operators.risk.breakers import SEVERITY, BreakerChange, Breakers
from operators.risk.commands import RECONCILED, RECONCILING, SET_BREAKER, parse_breaker_command
from operators.risk.corporate_actions import RiskCorporateActions
from operators.risk.decisions import OrderDecisions
from operators.risk.event_writer import RiskEventWriter
from operators.risk.history import RiskHistory
from operators.risk.last_price import OpenTime
from operators.risk.margin import MarginSettings
from operators.risk.margin_call import MarginStatus, has_open_reduction, margin_status, reducing_proposals
from operators.risk.older_snapshots import SNAPSHOT_VERSION, current_state
from operators.risk.requested_orders import RequestedOrders
from operators.risk.settings import RiskSettings
from operators.risk.strategy_orders import StrategyOrderLimits
from operators.risk.usage import LimitUtilization, UsageReport
from operators.strategy_limits import StrategyLimits
from operators.trading.accounts import StrategyAccounts
from schemas.errors import BadInput
from schemas.records import (
    ACTIVE,
    AMEND_ORDER,
    CANCEL_ORDER,
    HALTED,
    KILL_SWITCH,
    PORTFOLIO,
    READY,
    RELEASE,
    SUBMIT_ORDER,
    SYMBOL,
    Bar,
    CashTransfer,
    Command,
    Execution,
    GatewayStatus,
    OrderProposal,
    OrderTerms,
    Record,
    StrategyAction,
    TradingState,
)

_ORDER_KINDS = frozenset({SUBMIT_ORDER, AMEND_ORDER, CANCEL_ORDER})


class _SliceRequests(NamedTuple):
    """The order requests of a time slice: proposals, actions of trading strategies, and manual commands."""

    proposals: list[OrderProposal]
    actions: list[StrategyAction]
    commands: list[Command]


class RiskStage:
    """The logic of the risk service.

    Inputs, in this order within a time slice: reference data, executions and cash transfers, commands, bars, proposals
    and the actions of trading strategies. Outputs: `Order`, `OrderCancel` and `RiskFence` (with a common `seq`),
    `OrderRefusal` (with its own `seq`), and `RiskEvent` and `RiskUsage` (with a common `seq`).

    After the proposals, the orders of trading strategies and then manual orders are checked, at the prices of the time
    slice, by the same checks as all other orders.

    An approved order counts as filled in every later check until its execution reports arrive. The kill switch
    increments the risk epoch and publishes a fence, the record that halts or releases trading. Each approved order
    contains the epoch. The venue and the gateway reject orders with an older epoch.
    """

    def __init__(
        self,
        settings: RiskSettings,
        open_time: OpenTime | None = None,
        strategy_accounts: StrategyAccounts | None = None,
        strategy_limits: Mapping[str, StrategyLimits] = MappingProxyType({}),
        *,
        lists_checks: bool = True,
    ) -> None:
        """`open_time` returns how long the market is open between two times. Without it, prices age at night too.

        `strategy_accounts` are the sub-accounts of the trading strategies. They are booked even without limits, because
        a limit that is added later needs the positions. Without strategies in the settings, they are booked if there
        have been some before. Without `lists_checks`, orders do not list the results of their checks.
        """
        self.settings = settings
        self._book = RiskBook(settings.initial_capital, settings.instruments, settings.account_currency, open_time)
        self._history = RiskHistory(settings, settings.initial_capital)
        self._breakers = Breakers(settings.all_breakers())
        self._strategy_orders: StrategyOrderLimits | None = None
        self._idle_accounts = strategy_accounts
        self._idle_state: list[Any] = []  # of strategies, without accounts to book
        self._strategy_limits = strategy_limits
        self._decisions = OrderDecisions(settings, self._book, self._history, self._breakers, lists_checks=lists_checks)
        if strategy_accounts is not None and strategy_accounts.accounts:
            self._book_strategies(strategy_accounts)
        self._meters = BreakerMeters(settings.all_breakers(), settings.initial_capital)
        self._corporate_actions = self._build_corporate_actions()
        self._breakers.exchange_halts = self._corporate_actions.reference.halts
        self._book.ended_symbols = self._corporate_actions.reference.ended
        self._fence_state: TradingState = ACTIVE  # the state of the last fence
        self._margin_call = False  # whether a margin call is active
        self._usage = UsageReport()
        self._events = RiskEventWriter()
        self._requested_orders = RequestedOrders(self._decisions, self._book, self._history)

    @property
    def book(self) -> RiskBook:
        """The positions, cash and open orders that the checks use. Read-only."""
        return self._book

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        book = self._book
        adjusted = self._corporate_actions.adjusted_prices
        if self._strategy_orders is not None:
            self._strategy_orders.fold(ts_ns, records)
        self._open_day(records)
        self._corporate_actions.apply_due(ts_ns, records, book.trading_day)
        out += [
            self._events.exchange_halt(ts_ns, status) for status in self._corporate_actions.reference.status_changes
        ]
        if adjusted.prices:
            records = adjusted.adjust_bars(records)
        if self._history.needs_bars:
            self._history.fold_bars(records)
        if self._meters.needs_bars:
            self._meters.fold_bars(records)
        requests = self._fold_records(ts_ns, records, out)
        if (flow := book.pop_flow()) is not None:
            self._meters.rebase_peak(*flow)
            self._history.rebase_peak(*flow)
        if self._meters.is_enabled:
            for change in self._breakers.update(ts_ns, self._meters.measure(ts_ns, book, self._breakers)):
                out += self._apply_breaker_change(ts_ns, change, f"tick-{ts_ns}")
        if self.settings.margin is not None:
            out += self._check_margin(ts_ns, self.settings.margin)
        out += self._requested_orders.reduce_excessive(ts_ns)
        out += [self._decisions.decide(ts_ns, proposal) for proposal in requests.proposals]
        for action in requests.actions:
            out += self._requested_orders.apply(ts_ns, action)
        for command in requests.commands:
            out += self._requested_orders.apply(ts_ns, command)
        self._history.fold_equity(book)
        if self.settings.usage_interval_s:
            changed = self._usage.changes(ts_ns, book, self._history, self.settings)
            out += self._events.usage(ts_ns, changed)
        return out

    def _fold_records(self, ts_ns: int, records: Sequence[Record], out: list[Record]) -> _SliceRequests:
        """Apply the records of a time slice, except the order requests that it returns. Append what that publishes."""
        book, last_bars = self._book, self._book.last_bars
        requests = _SliceRequests([], [], [])
        for record in records:
            if type(record) is Bar:
                last_bars[record.symbol] = record
            elif isinstance(record, OrderProposal):
                requests.proposals.append(record)
            elif isinstance(record, Execution):
                if self._meters.is_enabled:
                    proposal = book.proposals.get(record.order_id)
                    self._meters.fold_execution(record, "" if proposal is None else proposal.strategy)
                self._requested_orders.fold_execution(record)
                book.fold_execution(record)
                self._history.fold_execution(record)
            elif isinstance(record, CashTransfer):
                book.book_transfer(record)
            elif isinstance(record, GatewayStatus):
                book.reconciling = "" if record.state == READY else f"{record.state.lower()}: {record.reason}"
            elif isinstance(record, StrategyAction):
                if record.kind in _ORDER_KINDS:
                    requests.actions.append(record)
            elif isinstance(record, Command):
                command = without_nul(record)
                self._meters.fold_command(ts_ns, command)
                if command.kind in _ORDER_KINDS:
                    requests.commands.append(command)
                else:
                    out += self._apply_command(ts_ns, command)
        return requests

    def _book_strategies(self, accounts: StrategyAccounts) -> None:
        """Book the sub-accounts of the strategies from now on, and check their limits."""
        orders = StrategyOrderLimits(self._strategy_limits, accounts, self._book, self.settings.account_currency)
        self._strategy_orders = self._decisions.strategy_orders = orders
        self._idle_accounts = None

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
            self._book.start_day(equity)

    def _apply_command(self, ts_ns: int, command: Command) -> list[Record]:
        """Apply a command other than an order. A command that does not change the state has no effect.

        KILL_SWITCH halts trading, RELEASE resumes it, SET_BREAKER sets a breaker. A release without the approval that
        the settings require has no effect. RECONCILING blocks new orders until RECONCILED.
        """
        book = self._book
        if lacks_approval(command, self.settings.approvals):
            return []
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
        for change in self._breakers.set_manually(
            ts_ns, request.measure, request.scope, request.key, request.state, command.actor, command.reason
        ):
            out += self._apply_breaker_change(ts_ns, change, command.command_id)
        return out

    def _apply_breaker_change(self, ts_ns: int, change: BreakerChange, cause_id: str) -> list[Record]:
        """Publish a breaker change as an event, and enforce it at the venue with a fence or with cancels."""
        breaker = change.breaker
        out: list[Record] = [self._events.breaker(ts_ns, change, cause_id)]
        if breaker.scope == PORTFOLIO:
            return out + self._write_fence(ts_ns, change.reason, cause_id)
        if change.state == ACTIVE:
            return out
        for open_order_id, proposal in self._book.proposals.items():
            terms = proposal.terms
            if change.key not in ((terms.symbol,) if breaker.scope == SYMBOL else proposal.strategy.split("+")):
                continue
            if change.state == HALTED or not self._only_reduces(terms):
                out.append(self._decisions.cancel(ts_ns, open_order_id, terms.symbol, change.reason, cause_id))
        return out

    def _check_margin(self, ts_ns: int, rules: MarginSettings) -> list[Record]:
        """Reduce positions while equity is below the maintenance margin, by reduce-only market orders.

        The orders must pass the risk checks. No further orders are sent until these have ended.
        """
        status = margin_status(self._book, rules, self.settings)
        if status is None:
            return []
        out: list[Record] = []
        if self._margin_call is not status.is_short:
            self._margin_call = status.is_short
            out.append(self._events.margin_call(ts_ns, status))
        if self._margin_call:
            out += self.reduce_positions(ts_ns, status, rules)
        return out

    def reduce_positions(self, ts_ns: int, status: MarginStatus, rules: MarginSettings) -> list[Record]:
        """Return the orders of a margin call, which reduce positions; none while earlier ones are open."""
        if has_open_reduction(self._book):
            return []
        # The ids have the form of manual orders' ids, so that no strategy reverses the trades.
        return [
            self._decisions.decide(ts_ns, proposal, order_id_of(proposal.proposal_id))
            for proposal in reducing_proposals(ts_ns, status, rules)
            if self._breakers.exchange_halts.current(proposal.terms.symbol) is None
        ]

    def _only_reduces(self, terms: OrderTerms) -> bool:
        return terms.reduce_only or terms.quantity <= self._book.positions[terms.symbol].closable(terms.side)

    def _write_fence(self, ts_ns: int, reason: str, cause_id: str) -> list[Record]:
        """Publish a fence if the more severe of kill switch and portfolio breakers differs from the last fence."""
        state = max(self._book.state, self._breakers.state(PORTFOLIO, ""), key=SEVERITY.__getitem__)
        if state == self._fence_state:
            return []
        self._fence_state = state
        return [self._decisions.fence(ts_ns, state, reason, cause_id)]

    def snapshot(self) -> Any:
        counts = (
            self._decisions.order_seq,
            self._decisions.refusal_seq,
            self._events.seq,
            self._fence_state,
            self._margin_call,
            self._usage.written_ns,
        )
        components = (self._book, self._history, self._breakers, self._meters, self._corporate_actions)
        requested = self._requested_orders
        tail = (requested.command_ids, [tuple(row) for row in self._usage.rows], requested.ended.snapshot())
        strategies = self._idle_state if self._strategy_orders is None else [self._strategy_orders.snapshot()]
        return (SNAPSHOT_VERSION, counts, *(component.snapshot() for component in components), *tail, *strategies)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot, also of an earlier release.

        If there have been trading strategies, their positions are at the end.
        """
        version, *older = snapshot
        state = current_state(
            version,
            older,
            no_actions=self._corporate_actions.snapshot(),
            no_ended_orders=self._requested_orders.ended.snapshot(),
        )
        counts, book, history, breakers, meters, corporate_actions, manual_commands, usage_rows, ended, *strategies = (
            state
        )
        self._idle_state = strategies
        if strategies and self._idle_accounts is not None:
            self._book_strategies(self._idle_accounts)
        (
            self._decisions.order_seq,
            self._decisions.refusal_seq,
            self._events.seq,
            self._fence_state,
            self._margin_call,
            self._usage.written_ns,
        ) = counts
        self._book.restore(book)
        if self._strategy_orders is not None and strategies:
            self._strategy_orders.restore(strategies[0])
        self._history.restore(history)
        self._breakers.restore(breakers)
        self._meters.restore(meters)
        self._corporate_actions.restore(corporate_actions)
        self._requested_orders.restore_command_ids(manual_commands)
        self._requested_orders.ended.restore(ended)
        self._usage.rows = [LimitUtilization(*row) for row in usage_rows]
