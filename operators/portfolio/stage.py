"""The portfolio stage: book executions, value the positions, and propose orders from the strategies' views.

Several strategies can have a view of one symbol. Each has its own target quantity. The difference between the sum of
the targets and the position is traded (`operators/portfolio/target_trading.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from operators.corporate_actions import PortfolioCorporateActions
from operators.instruments import NO_INSTRUMENTS, Instruments
from operators.ledger import Ledger
from operators.ledger.cash import SettledCash
from operators.money import ZERO, quantize
from operators.portfolio.construction import Construction
from operators.portfolio.requested_targets import RequestedView, parse_target
from operators.portfolio.settings import PortfolioSettings
from operators.portfolio.target_trading import TargetTrading
from operators.portfolio.targets import hold_difference
from operators.sizing import REBALANCED, Estimates, TargetWeights
from operators.stage import Restorable
from operators.valuation import Marks
from schemas.records import (
    BUY,
    RESUMED,
    SUSPENDED,
    Bar,
    CashTransfer,
    Command,
    Execution,
    OrderRefusal,
    Record,
    Signal,
    StrategyAction,
    signal_id,
)

__all__ = ["PortfolioSettings", "PortfolioStage"]

SNAPSHOT_VERSION = 8
_SECOND_NS = 1_000_000_000


class PortfolioStage:
    """The portfolio's `operators.stage.Stage`: one instance for the account.

    Inputs, in this order within a time slice: OrderRefusal, CorporateAction and ExchangeRate, Execution and
    CashTransfer, Command, Bar, Signal and StrategyAction. Outputs: the ledger's records with the internal crosses of
    the fills, one Valuation if the time slice has a Bar, an Execution or a CashTransfer, then the proposals, the other
    crosses and the reduced targets, by symbol.

    `instruments` defines multiplier, lot size and tick size of the listed symbols. For other symbols the multiplier is
    1, and lot size and tick size come from the settings; a symbol that trades in fractions has its own lot size.
    `limited_views` are the view strategies with limits, which have a sub-account.
    """

    def __init__(
        self,
        settings: PortfolioSettings | None = None,
        instruments: Instruments = NO_INSTRUMENTS,
        limited_views: Sequence[str] = (),
    ) -> None:
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
        # Of view strategies that a loss stop has suspended: the last signal of each symbol since then, for a resume.
        self._suspended_views: dict[str, dict[str, Signal]] = {}
        # The strategies with a sub-account, with those that the settings no longer name: their sub-accounts continue.
        self._known_accounts = (*self.settings.trading_strategies, *limited_views)
        self._valuation_seq = 0
        self._refusal_seq = 0
        self._last_rebalance = 0
        self._estimates = Estimates(self.settings.sizing)
        # Tracked for every method, so that a switch to target weights finds the recorded ones.
        self._weights = TargetWeights()
        self._uses_target_weights = self.settings.sizing.method == "target_weights"
        self._trading = self._build_trading()
        self._corporate_actions, self._construction = self._build_corporate_actions(), self._build_construction()
        self._needs_bars = self._estimates.needs_bars
        interval = self.settings.rebalance_interval_s
        self._interval_ns = interval * _SECOND_NS if interval and self.settings.sizing.method in REBALANCED else 0

    @property
    def accrued_dividends(self) -> dict[str, Decimal]:
        """Dividends that are income and not paid yet, by the id of the corporate action."""
        return self._corporate_actions.accrued_dividends

    def next_timer_ns(self) -> int | None:
        """Return when an exit is proposed again, or when the targets are rebalanced."""
        times_ns = [at_ns for at_ns, _ in self._trading.exit_retries.values()]
        if self._interval_ns and self._last_rebalance:
            times_ns.append((self._last_rebalance + 1) * self._interval_ns)
        return min(times_ns, default=None)

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        marks, values = self.marks, self.marks.values
        prices, adjusted = marks.prices, self._corporate_actions.adjusted_prices
        changed_symbols: dict[str, None] = {}
        first_bar = next((record for record in records if type(record) is Bar), None)
        needs_valuation = first_bar is not None
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
                symbol, close = record.symbol, record.close
                if symbol in values and prices[symbol] != close:
                    changed_symbols[symbol] = None
                prices[symbol] = close
            elif type(record) is Execution:
                needs_valuation = True
                self._book_execution(record, changed_symbols, out)
            elif type(record) is Signal:
                self._apply_signal(record)
            elif type(record) is StrategyAction:
                self._apply_action(record)
            elif type(record) is OrderRefusal:
                self._apply_refusal(ts_ns, record)
            elif type(record) is Command and self._weights.apply_command(record) and self._uses_target_weights:
                self._trading.queue_all()
        self._trading.settle(ts_ns, out)
        marks.revalue(self.ledger, changed_symbols)
        if needs_valuation:
            self._valuation_seq += 1
            valuation = marks.to_valuation(self.ledger, self._valuation_seq, ts_ns)
            out.append(valuation)
        if self._trading.exit_retries:
            self._trading.queue_retries(ts_ns)
        if self._interval_ns and ts_ns // self._interval_ns != self._last_rebalance:
            self._last_rebalance = ts_ns // self._interval_ns
            self._trading.queue_all()
        if self._trading.due:
            equity = self.ledger.cash + self.ledger.accrued + self.marks.net
            self._trading.propose(ts_ns, equity, self._construction, out)
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
            self._trading.split(symbol, ratio, self._instruments.lot_size_of(symbol))
        return records_out

    def _book_transfers(self, ts_ns: int, transfers: Sequence[CashTransfer]) -> list[Record]:
        """Book cash transfers, before the executions of the time slice. They settle immediately."""
        if self._settled_cash is not None:
            self._settled_cash.book_income(sum((transfer.amount for transfer in transfers), ZERO))
        return [self.ledger.book_transfer(ts_ns, transfer) for transfer in transfers]

    def _build_corporate_actions(self) -> PortfolioCorporateActions:
        settings = self.settings
        return PortfolioCorporateActions(
            settings.accruals,
            settings.currency,
            self.ledger,
            self.marks,
            self._trading.targets,
            self._estimates,
            self._weights,
            self._known_accounts,
        )

    def _build_construction(self) -> Construction:
        accounts = (self.ledger, self._settled_cash, self.marks)
        targets = self._trading.targets
        return Construction(self.settings, self._instruments, *accounts, targets, self._estimates, self._weights)

    def _build_trading(self) -> TargetTrading:
        return TargetTrading(self.settings, self.ledger, self.marks, self._estimates, self._weights)

    def _book_execution(self, execution: Execution, changed_symbols: dict[str, None], out: list[Record]) -> None:
        cash_before, units_before = self.ledger.cash, self.ledger.quantity(execution.symbol)
        changes = self.ledger.apply(execution, strategy=self._trading.order_strategies.of(execution))
        if self._settled_cash is not None:
            self._settled_cash.book_trade(self.ledger.cash - cash_before)
        symbol = execution.symbol
        if changes:
            out.extend(changes)
            self.marks.prices.setdefault(symbol, float(execution.price))
            changed_symbols[symbol] = None
        self._trading.apply_report(execution, changes)
        if changes:
            traded = quantize(execution.quantity if execution.side == BUY else -execution.quantity)
            dropped = self.ledger.quantity(symbol) - units_before - traded
            hold_difference(self._trading.targets.get(symbol, {}), dropped)

    def _apply_signal(self, signal: Signal) -> None:
        traded_strategies = self.settings.strategies
        if traded_strategies is not None and signal.strategy not in traded_strategies:
            return
        if signal.strategy in self._suspended_views:
            self._suspended_views[signal.strategy][signal.symbol] = signal
            return
        view = RequestedView(signal.direction, signal.strength)
        cause = signal_id(signal.symbol, signal.seq)
        self._trading.set_target(signal.symbol, signal.strategy, view, signal.price, cause)

    def _apply_action(self, action: StrategyAction) -> None:
        if action.kind == SUSPENDED and action.strategy not in self.settings.trading_strategies:
            self._suspended_views.setdefault(action.strategy, {})
        elif action.kind == RESUMED:
            for signal in self._suspended_views.pop(action.strategy, {}).values():
                self._apply_signal(signal)
        requested = parse_target(action)
        if requested is not None:
            price = self.marks.prices.get(action.symbol, 0.0)
            self._trading.set_target(action.symbol, action.strategy, requested, price, action.action_id)

    def _apply_refusal(self, ts_ns: int, refusal: OrderRefusal) -> None:
        if refusal.seq <= self._refusal_seq:
            return
        self._refusal_seq = refusal.seq
        self._trading.apply_refusal(ts_ns, refusal)

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Any, ...]:
        trading = self._trading
        return (
            SNAPSHOT_VERSION,
            self.ledger.snapshot(),
            self.marks.snapshot(),
            (self._valuation_seq, trading.seq, self._refusal_seq, self._last_rebalance, self._trading_day),
            None if self._settled_cash is None else self._settled_cash.snapshot(),
            *trading.snapshot(),
            self._estimates.snapshot(),
            self._corporate_actions.snapshot(),
            self._weights.snapshot(),
            (
                trading.targets.held(),
                self._suspended_signals(),
                trading.order_strategies.snapshot(),
                list(self._known_accounts),
            ),
        )

    def _suspended_signals(self) -> list[tuple[str, list[tuple[Any, ...]]]]:
        return [(name, [tuple(one) for one in signals.values()]) for name, signals in self._suspended_views.items()]

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore a snapshot of this or an earlier version.

        Version 1 contains no estimates. Version 2 contains no corporate actions, version 3 no target weights, version 4
        not what each strategy holds, version 5 no suspended view strategies, version 6 not the strategies of orders,
        version 7 no trading strategies that the settings no longer name.
        """
        version, ledger, marks, counters, settled_cash, targets, pending, due, exit_retries, *component_states = (
            snapshot
        )
        expected = f"1 to {SNAPSHOT_VERSION}"
        assert version in (1, 2, 3, 4, 5, 6, 7, SNAPSHOT_VERSION), (
            f"portfolio snapshot: version {version}, expected {expected}"
        )
        held = component_states.pop() if version >= 5 else None
        suspended: list[tuple[str, list[tuple[Any, ...]]]] = []
        order_strategies: list[Any] = []
        known_accounts: Sequence[str] = ()
        if held is not None and version > 5:
            held, suspended, *order_strategies = held
        if version > 7:
            known_accounts = order_strategies.pop()
        self._known_accounts = tuple(dict.fromkeys([*self._known_accounts, *known_accounts]))
        self._suspended_views = {
            name: {one.symbol: one for one in (Signal(*values) for values in rows)} for name, rows in suspended
        }
        self.ledger.restore(ledger)
        self.marks.restore(marks)
        self._estimates, self._weights = Estimates(self.settings.sizing), TargetWeights()
        self._trading = self._build_trading()
        self._valuation_seq, self._trading.seq, self._refusal_seq, self._last_rebalance, self._trading_day = counters
        if self._settled_cash is not None:
            # If the setting is new, all cash counts as settled.
            self._settled_cash.restore(settled_cash or SettledCash(self.ledger.cash, days=0).snapshot())
        self._trading.restore(targets, pending, due, exit_retries, held)
        for state in order_strategies:
            self._trading.order_strategies.restore(state)
        self._corporate_actions, self._construction = self._build_corporate_actions(), self._build_construction()
        components: tuple[Restorable, ...] = (self._estimates, self._corporate_actions, self._weights)
        for component, state in zip(components, component_states, strict=False):
            component.restore(state)
