"""The portfolio stage: book executions, value the positions, and propose orders from the strategies' views.

Several strategies can have a view of one symbol. Each has its own target quantity. One proposal trades the difference
between the sum of the targets and the position. While a symbol has a pending proposal, no other one is made. A view
that arrives in the meantime waits until the order is filled, rejected or cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.corporate_actions import PortfolioCorporateActions
from operators.instruments import NO_INSTRUMENTS, Instruments
from operators.ledger import Ledger
from operators.ledger.cash import SettledCash
from operators.manual_orders import MANUAL, is_manual, trading_strategy_of
from operators.money import ZERO, plain, quantize
from operators.portfolio.construction import Construction, PlannedTrade, Reduction
from operators.portfolio.requested_targets import RequestedTarget, RequestedView, parse_target
from operators.portfolio.settings import PortfolioSettings
from operators.portfolio.targets import (
    ORDER_END_TYPES,
    PendingOrder,
    Target,
    Targets,
    apply_manual_trade,
    apply_own_trade,
    drop_untraded,
    net_target,
    reduce_targets,
)
from operators.sizing import REBALANCED, Estimates, TargetWeights
from operators.stage import Restorable
from operators.valuation import Marks
from schemas.records import (
    BUY,
    LIMIT,
    SELL,
    TRADE,
    Bar,
    CashTransfer,
    Command,
    Execution,
    OrderProposal,
    OrderRefusal,
    OrderTerms,
    Record,
    Signal,
    StrategyAction,
    TargetReduction,
    proposal_id,
    signal_id,
)

__all__ = ["PortfolioSettings", "PortfolioStage"]

SNAPSHOT_VERSION = 4
_SECOND_NS = 1_000_000_000


class PortfolioStage:
    """The portfolio's `operators.stage.Stage`: one instance for the account.

    Inputs, in this order within a time slice: OrderRefusal, CorporateAction and ExchangeRate, Execution and
    CashTransfer, Command, Bar, Signal and StrategyAction. Outputs: the ledger's records, one Valuation if the time
    slice has a Bar, an Execution or a CashTransfer, then the proposals and the reduced targets, by symbol.

    `instruments` defines multiplier, lot size and tick size of the listed symbols. For other symbols the multiplier is
    1, and lot size and tick size come from the settings; a symbol that trades in fractions has its own lot size.
    """

    def __init__(self, settings: PortfolioSettings | None = None, instruments: Instruments = NO_INSTRUMENTS) -> None:
        self.settings = settings or PortfolioSettings()
        self._instruments = instruments
        multipliers = {one.symbol: one.multiplier for one in instruments.listed if one.multiplier != 1}
        account_currency = self.settings.currency
        currencies = {one.symbol: one.currency for one in instruments.listed if one.currency != account_currency}
        self.ledger = Ledger(self.settings.initial_capital, multipliers=multipliers, currencies=currencies)
        self.marks = Marks()
        self._settled_cash: SettledCash | None = None
        if self.settings.settled_cash_only:
            self._settled_cash = SettledCash(self.ledger.cash, days=self.settings.settlement_days)
        self._trading_day = 0
        self._targets = Targets()
        self._pending: dict[str, PendingOrder] = {}
        self._due_strategies: dict[str, dict[str, None]] = {}  # symbol -> strategies with a view to apply
        # symbol -> time at which its exit is proposed again, and for which strategies
        self._exit_retries: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._reserved = ZERO
        self._valuation_seq = 0
        self._proposal_seq = 0
        self._refusal_seq = 0
        self._last_rebalance = 0
        self._estimates = Estimates(self.settings.sizing)
        # Tracked for every method, so that a switch to target weights finds the recorded ones.
        self._weights = TargetWeights()
        self._uses_target_weights = self.settings.sizing.method == "target_weights"
        self._corporate_actions, self._construction = self._build_corporate_actions(), self._build_construction()
        self._needs_bars = self._estimates.needs_bars
        self._rebalance_all = False  # a view started or ended, which changes the other symbols' shares
        interval = self.settings.rebalance_interval_s
        self._interval_ns = interval * _SECOND_NS if interval and self.settings.sizing.method in REBALANCED else 0

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        marks, values = self.marks, self.marks.values
        prices, adjusted = marks.prices, self._corporate_actions.adjusted_prices
        changed_symbols: dict[str, None] = {}
        needs_valuation = False
        first_bar = next((record for record in records if type(record) is Bar), None)
        if first_bar is not None and first_bar.trading_day > self._trading_day:
            out += self._open_day(ts_ns, first_bar.trading_day)
        out += self._apply_reference_data(ts_ns, records, changed_symbols)
        if adjusted.prices:
            records = adjusted.adjust_bars(records)
        transfers = [record for record in records if type(record) is CashTransfer]
        if transfers:
            needs_valuation = True
            out += self._book_transfers(ts_ns, transfers)
        if self._needs_bars:
            self._estimates.update(records)
        for record in records:
            if type(record) is Bar:
                needs_valuation = True
                symbol, close = record.symbol, record.close
                if prices.get(symbol) != close:
                    prices[symbol] = close
                    if symbol in values:
                        changed_symbols[symbol] = None
            elif type(record) is Execution:
                needs_valuation = True
                self._book_execution(ts_ns, record, changed_symbols, out)
            elif type(record) is Signal:
                self._apply_signal(record)
            elif type(record) is StrategyAction:
                self._apply_action(record)
            elif type(record) is OrderRefusal:
                self._apply_refusal(ts_ns, record)
            elif type(record) is Command and self._weights.apply_command(record) and self._uses_target_weights:
                self._queue_all()
        for symbol in changed_symbols:
            marks.revalue(self.ledger, symbol)
        if needs_valuation:
            self._valuation_seq += 1
            valuation = marks.to_valuation(self.ledger, self._valuation_seq, ts_ns)
            out.append(valuation)
        if self._exit_retries:
            self._queue_retries(ts_ns)
        if self._interval_ns and ts_ns // self._interval_ns != self._last_rebalance:
            self._last_rebalance = ts_ns // self._interval_ns
            self._queue_all()
        if self._due_strategies:
            self._propose_orders(ts_ns, out)
        return out

    # -- incoming records ----------------------------------------------------------------------------------------------

    def _open_day(self, ts_ns: int, day: int) -> list[Record]:
        """Start a new session with its first bar, before the executions of the time slice, which belong to it."""
        previous_day, self._trading_day = self._trading_day, day
        if self._settled_cash is not None and previous_day:
            self._settled_cash.start_session()
        cash = self.ledger.cash
        income = self._corporate_actions.open_day(ts_ns, previous_day, day)
        if self._settled_cash is not None:
            self._settled_cash.book_income(self.ledger.cash - cash)
        return income

    def _apply_reference_data(
        self, ts_ns: int, records: Sequence[Record], changed_symbols: dict[str, None]
    ) -> list[Record]:
        """Apply corporate actions and exchange rates, before the executions of the time slice."""
        cash = self.ledger.cash
        records_out = self._corporate_actions.apply_due(ts_ns, records, self._trading_day, changed_symbols)
        if self._settled_cash is not None:
            self._settled_cash.book_income(self.ledger.cash - cash)
        for symbol, ratio in self._corporate_actions.splits:
            if (pending := self._pending.get(symbol)) is not None:
                self._reserved -= pending.reserved_cash
                pending.split(ratio, self._instruments.lot_size_of(symbol))
                self._reserved += pending.reserved_cash
        return records_out

    def _book_transfers(self, ts_ns: int, transfers: Sequence[CashTransfer]) -> list[Record]:
        """Book cash transfers, before the executions of the time slice. They settle immediately."""
        if self._settled_cash is not None:
            self._settled_cash.book_income(sum((transfer.amount for transfer in transfers), ZERO))
        return [self.ledger.book_transfer(ts_ns, transfer) for transfer in transfers]

    def _build_corporate_actions(self) -> PortfolioCorporateActions:
        settings = self.settings
        return PortfolioCorporateActions(
            settings.accruals, settings.currency, self.ledger, self.marks, self._targets, self._estimates, self._weights
        )

    def _build_construction(self) -> Construction:
        accounts = (self.ledger, self._settled_cash, self.marks)
        return Construction(self.settings, self._instruments, *accounts, self._targets, self._estimates, self._weights)

    def _book_execution(
        self, ts_ns: int, execution: Execution, changed_symbols: dict[str, None], out: list[Record]
    ) -> None:
        cash_before = self.ledger.cash
        changes = self.ledger.apply(execution)
        if self._settled_cash is not None:
            self._settled_cash.book_trade(self.ledger.cash - cash_before)
        symbol = execution.symbol
        if changes:
            out.extend(changes)
            self.marks.prices.setdefault(symbol, float(execution.price))
            changed_symbols[symbol] = None
        strategy = trading_strategy_of(execution.order_id)
        if strategy is not None or is_manual(execution.order_id):
            if changes:
                targets, price = self._targets.setdefault(symbol, {}), float(execution.price)
                quantity = quantize(execution.quantity if execution.side == BUY else -execution.quantity)
                if strategy is None:
                    apply_manual_trade(targets, quantity, price)
                else:
                    apply_own_trade(targets, strategy, quantity, price)
            return
        pending = self._pending.get(symbol)
        if pending is None or not pending.matches(execution):
            return
        if changes and self._estimates.uses_trades:
            self._estimates.record_closed_lots(symbol, changes, self.ledger.unit_value(symbol))
        if execution.exec_type == TRADE:
            self._reserved -= pending.reserved_cash
            filled = quantize(execution.quantity)
            pending.remaining -= filled if execution.side == BUY else -filled
            self._reserved += pending.reserved_cash
            if execution.leaves_quantity == 0 or pending.remaining == 0:
                self._close_pending(ts_ns, symbol, pending)
        elif execution.exec_type in ORDER_END_TYPES:
            self._close_pending(ts_ns, symbol, pending)

    def _apply_signal(self, signal: Signal) -> None:
        traded_strategies = self.settings.strategies
        if traded_strategies is not None and signal.strategy not in traded_strategies:
            return
        view = RequestedView(signal.direction, signal.strength)
        self._set_target(signal.symbol, signal.strategy, view, signal.price, signal_id(signal.symbol, signal.seq))

    def _apply_action(self, action: StrategyAction) -> None:
        requested = parse_target(action)
        if requested is not None:
            price = self.marks.prices.get(action.symbol, 0.0)
            self._set_target(action.symbol, action.strategy, requested, price, action.action_id)

    def _set_target(
        self, symbol: str, strategy: str, requested: RequestedTarget | RequestedView, price: float, cause_id: str
    ) -> None:
        """Set the target of a strategy. Its quantity changes when the order is proposed."""
        targets = self._targets.setdefault(symbol, {})
        previous = targets.get(strategy)
        quantity = ZERO if previous is None else previous.quantity
        if isinstance(requested, RequestedView):
            direction, strength, own_size = requested.direction, requested.strength, None
        else:
            # Without a direction, so that a rebalance of all views leaves it as it is.
            direction, strength, own_size = 0, 0.0, requested
        if self._estimates.uses_comparison and direction != (0 if previous is None else previous.direction):
            self._rebalance_all = True
        targets[strategy] = Target(direction, strength, price, cause_id, quantity, own_size)
        self._due_strategies.setdefault(symbol, {})[strategy] = None

    def _apply_refusal(self, ts_ns: int, refusal: OrderRefusal) -> None:
        if refusal.seq <= self._refusal_seq:
            return
        self._refusal_seq = refusal.seq
        pending = self._pending.get(refusal.symbol)
        if pending is not None and pending.proposal_id == refusal.cause_id:
            self._close_pending(ts_ns, refusal.symbol, pending)

    def _close_pending(self, ts_ns: int, symbol: str, pending: PendingOrder) -> None:
        """End a pending order. An unfilled increase is abandoned; an unfilled reduction is retried later."""
        self._reserved -= pending.reserved_cash
        del self._pending[symbol]
        if self._estimates.uses_trades:
            self._estimates.record_order_end(symbol, pending.strategies)
        if not pending.remaining:
            return
        targets = self._targets[symbol]
        position = self.ledger.quantity(symbol)
        target = net_target(targets)
        reachable = min(target, position, key=abs) if target * position > 0 else ZERO
        reduce_targets(targets, pending.strategies, target - reachable)
        if reachable != position:
            self._exit_retries[symbol] = (ts_ns + self.settings.exit_retry_s * _SECOND_NS, pending.strategies)

    def _queue_retries(self, ts_ns: int) -> None:
        for symbol in [symbol for symbol, (at_ns, _) in self._exit_retries.items() if at_ns <= ts_ns]:
            _, strategies = self._exit_retries.pop(symbol)
            due = self._due_strategies.setdefault(symbol, {})
            for strategy in strategies:
                due[strategy] = None

    def _queue_all(self) -> None:
        for symbol, targets in self._targets.items():
            for strategy, target in targets.items():
                if target.direction:
                    self._due_strategies.setdefault(symbol, {})[strategy] = None

    # -- proposals -----------------------------------------------------------------------------------------------------

    def _propose_orders(self, ts_ns: int, out: list[Record]) -> None:
        equity = self.ledger.cash + self.ledger.accrued + self.marks.net
        if self._rebalance_all:
            self._rebalance_all = False
            self._queue_all()
        if self._estimates.uses_comparison:
            self._construction.update_active_symbols()
        ready = [
            (symbol, self._next_due(symbol)) for symbol in sorted(self._due_strategies) if symbol not in self._pending
        ]
        turnover = self._construction.adjustment_turnover(ready, equity)
        for symbol, next_due in ready:
            due = next_due
            while due:
                self._remove_due(symbol, due)
                planned = self._construction.plan_trade(symbol, due, equity, turnover, self._reserved)
                if self.settings.trading_strategies:
                    self._report_reductions(ts_ns, symbol, due, planned, out)
                if planned is not None and planned.delta:
                    out.append(self._propose(ts_ns, symbol, due, planned))
                due = [] if symbol in self._pending else self._next_due(symbol)

    def _next_due(self, symbol: str) -> list[str]:
        """Return the strategies of the next proposal, in order.

        All views are traded by one order. A target that a strategy has sized itself has an order of its own, so that
        the order's fills belong to that strategy alone.
        """
        due, targets = sorted(self._due_strategies.get(symbol, ())), self._targets.get(symbol, {})
        return [name for name in due if targets[name].requested is None] or due[:1]

    def _remove_due(self, symbol: str, strategies: Sequence[str]) -> None:
        due = self._due_strategies[symbol]
        for strategy in strategies:
            del due[strategy]
        if not due:
            del self._due_strategies[symbol]

    def _propose(self, ts_ns: int, symbol: str, due: list[str], planned: PlannedTrade) -> OrderProposal:
        self._exit_retries.pop(symbol, None)
        self._proposal_seq += 1
        new_id, delta, settings = proposal_id(self._proposal_seq), planned.delta, self.settings
        pending = self._pending[symbol] = PendingOrder(new_id, delta, delta, planned.unit_cost, tuple(due))
        self._reserved += pending.reserved_cash
        limit_price = None
        if settings.order_type == LIMIT:
            limit_price = self._construction.limit_price(symbol, planned.price, buying=delta > 0)
        return OrderProposal(
            seq=self._proposal_seq,
            ts_ns=ts_ns,
            proposal_id=new_id,
            terms=OrderTerms(
                symbol=symbol,
                side=BUY if delta > 0 else SELL,
                quantity=abs(delta),
                order_type=settings.order_type,
                time_in_force=settings.time_in_force,
                limit_price=limit_price,
            ),
            strategy="+".join(due),
            reference_price=planned.price,
            sizing=planned.text,
            signal_ids=self._cause_ids(symbol, due),
        )

    def _report_reductions(
        self, ts_ns: int, symbol: str, due: Sequence[str], planned: PlannedTrade | None, out: list[Record]
    ) -> None:
        """Publish the targets of trading strategies that a limit has reduced, or whose symbol has no price."""
        targets = self._targets[symbol]
        if planned is None:
            unpriced = [(name, targets[name].quantity) for name in due]
            reductions = [Reduction(name, held, held, "known_price", "no price", "a price") for name, held in unpriced]
        else:
            reductions = planned.reductions
        for one in reductions:
            if one.strategy not in self.settings.trading_strategies:
                continue
            self._proposal_seq += 1
            change = f"target of {plain(one.requested)} reduced to {plain(one.quantity)}"
            record = TargetReduction(
                seq=self._proposal_seq,
                ts_ns=ts_ns,
                action_id=targets[one.strategy].signal_id,
                strategy=one.strategy,
                symbol=symbol,
                requested=one.requested,
                quantity=one.quantity,
                check=one.check,
                found=one.found,
                limit=one.limit,
                message=f"{one.check}: {symbol} {change}, found {one.found}, limit {one.limit}",
            )
            out.append(record)

    def _cause_ids(self, symbol: str, due: Sequence[str]) -> list[str]:
        """The ids of the signals, then of the command that set the target weights."""
        weights_cause = [self._weights.command_id] if self._uses_target_weights and self._weights.command_id else []
        return [self._targets[symbol][strategy].signal_id for strategy in due] + weights_cause

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Any, ...]:
        return (
            SNAPSHOT_VERSION,
            self.ledger.snapshot(),
            self.marks.snapshot(),
            (self._valuation_seq, self._proposal_seq, self._refusal_seq, self._last_rebalance, self._trading_day),
            None if self._settled_cash is None else self._settled_cash.snapshot(),
            [(s, [(n, *t.as_tuple()) for n, t in targets.items()]) for s, targets in self._targets.items()],
            [(symbol, pending.as_tuple()) for symbol, pending in self._pending.items()],
            [(symbol, list(strategies)) for symbol, strategies in self._due_strategies.items()],
            [(symbol, at_ns, strategies) for symbol, (at_ns, strategies) in self._exit_retries.items()],
            self._estimates.snapshot(),
            self._corporate_actions.snapshot(),
            self._weights.snapshot(),
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore a snapshot of this or an earlier version.

        Version 1 contains no estimates, and some of its pending orders end with an order id. Version 2 contains no
        corporate actions, version 3 no target weights.
        """
        version, ledger, marks, counters, settled_cash, targets, pending, due, exit_retries, *component_states = (
            snapshot
        )
        expected = f"1 to {SNAPSHOT_VERSION}"
        assert version in (1, 2, 3, SNAPSHOT_VERSION), f"portfolio snapshot: version {version}, expected {expected}"
        self.ledger.restore(ledger)
        self.marks.restore(marks)
        self._valuation_seq, self._proposal_seq, self._refusal_seq, self._last_rebalance, self._trading_day = counters
        if self._settled_cash is not None:
            # If the setting is new, all cash counts as settled.
            self._settled_cash.restore(settled_cash or SettledCash(self.ledger.cash, days=0).snapshot())
        self._targets = Targets({symbol: {row[0]: Target(*row[1:]) for row in rows} for symbol, rows in targets})
        self._pending = {symbol: PendingOrder(*row[:5]) for symbol, row in pending}
        self._reserved = sum((p.reserved_cash for p in self._pending.values()), ZERO)
        self._due_strategies = {symbol: dict.fromkeys(strategies) for symbol, strategies in due}
        self._exit_retries = {symbol: (at_ns, tuple(strategies)) for symbol, at_ns, strategies in exit_retries}
        self._estimates, self._weights = Estimates(self.settings.sizing), TargetWeights()
        self._corporate_actions, self._construction = self._build_corporate_actions(), self._build_construction()
        components: tuple[Restorable, ...] = (self._estimates, self._corporate_actions, self._weights)
        for component, state in zip(components, component_states, strict=False):
            component.restore(state)
        if self.settings.strategies is not None:
            for symbol, symbol_targets in self._targets.items():
                traded = (*self.settings.strategies, *self.settings.trading_strategies, MANUAL)
                for strategy in drop_untraded(symbol_targets, traded):
                    self._due_strategies.setdefault(symbol, {})[strategy] = None
