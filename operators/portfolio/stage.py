"""The portfolio: books executions, marks the holdings, and turns the strategies' views into proposed orders.

Several strategies may hold a view of one symbol. Each has its own target quantity; the book is steered to their sum,
and one proposal trades the difference between that sum and what is held. While a symbol has a proposal under way
nothing more is proposed for it: a view that arrives meanwhile waits until the order is filled, refused or gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.entitlements import Entitlements
from operators.instruments import NOTHING_LISTED, Instruments
from operators.ledger import Ledger
from operators.ledger.cash import SettledCash
from operators.manual_orders import MANUAL, is_manual
from operators.money import ZERO, quantize
from operators.portfolio.construction import Construction, Step
from operators.portfolio.settings import PortfolioSettings
from operators.portfolio.targets import GONE, Pending, Target, Targets, give_up, leave, total, trade_by_hand
from operators.sizing import REBALANCED, Estimates, TargetWeights
from operators.valuation import Marks
from schemas.records import (
    BUY,
    LIMIT,
    SELL,
    TRADE,
    Bar,
    Command,
    Execution,
    OrderProposal,
    OrderRefusal,
    Record,
    Signal,
    proposal_id,
    signal_id,
)

__all__ = ["PortfolioSettings", "PortfolioStage"]

SNAPSHOT_VERSION = 4
_SECOND_NS = 1_000_000_000


class PortfolioStage:
    """`operators.stage.Stage` of the portfolio: one instance for the whole account.

    Takes OrderRefusal, CorporateAction and ExchangeRate, Execution, Command, Bar and Signal, in this order within a
    tick. Gives the ledger's records, one Valuation where the tick held a Bar or an Execution, then the proposals, by
    symbol.

    Multiplier, lot and tick size of a symbol that `instruments` lists come from there; for others the multiplier is 1
    and the steps are those of the settings.
    """

    def __init__(self, settings: PortfolioSettings | None = None, instruments: Instruments = NOTHING_LISTED) -> None:
        self.settings = settings or PortfolioSettings()
        self._listed = {instrument.symbol: instrument for instrument in instruments.listed}
        multipliers = {symbol: one.multiplier for symbol, one in self._listed.items() if one.multiplier != 1}
        currencies = {s: one.currency for s, one in self._listed.items() if one.currency != self.settings.currency}
        self.ledger = Ledger(self.settings.initial_capital, multipliers=multipliers, currencies=currencies)
        self.marks = Marks()
        self._settled: SettledCash | None = None
        if self.settings.settled_cash_only:
            self._settled = SettledCash(self.ledger.cash, days=self.settings.settlement_days)
        self._trading_day = 0
        self._targets = Targets()
        self._pending: dict[str, Pending] = {}
        self._due: dict[str, dict[str, None]] = {}  # symbol -> strategies whose view is to be acted on
        self._retry: dict[str, tuple[int, tuple[str, ...]]] = {}  # symbol -> when its exit is proposed again, for whom
        self._reserved = ZERO
        self._valuation_seq = 0
        self._proposal_seq = 0
        self._refusal_seq = 0
        self._rebalanced = 0
        self._estimates = Estimates(self.settings.sizing)
        # Kept whatever the method: who turns to target weights finds those that were recorded.
        self._weights = TargetWeights()
        self._by_weights = self.settings.sizing.method == "target_weights"
        self._entitlements, self._construction = self._entitled(), self._constructed()
        self._reads_bars = self._estimates.reads_bars
        self._regroup = False  # a view came or went whose symbol shares the exposure with the others
        interval = self.settings.rebalance_interval_s
        self._interval_ns = interval * _SECOND_NS if interval and self.settings.sizing.method in REBALANCED else 0

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        marks, values = self.marks, self.marks.values
        prices = marks.prices
        moved: dict[str, None] = {}
        valued = False
        first = next((record for record in records if type(record) is Bar), None)
        if first is not None and first.trading_day > self._trading_day:
            out += self._open_day(ts_ns, first.trading_day)
        out += self._take_effect(ts_ns, records, moved)
        if self._reads_bars:
            self._estimates.see(records)
        for record in records:
            kind = type(record)
            if kind is Bar:
                valued = True
                symbol, close = record.symbol, record.close  # type: ignore[union-attr]
                if prices.get(symbol) != close:
                    prices[symbol] = close
                    if symbol in values:
                        moved[symbol] = None
            elif kind is Execution:
                valued = True
                self._book(ts_ns, record, moved, out)  # type: ignore[arg-type]
            elif kind is Signal:
                self._see(record)  # type: ignore[arg-type]
            elif kind is OrderRefusal:
                self._refused(ts_ns, record)  # type: ignore[arg-type]
            elif kind is Command and self._weights.fold(record) and self._by_weights:  # type: ignore[arg-type]
                self._take_up_all()
        for symbol in moved:
            marks.revalue(self.ledger, symbol)
        if valued:
            self._valuation_seq += 1
            valuation = marks.value(self.ledger, self._valuation_seq, ts_ns)
            out.append(valuation)
        if self._retry:
            self._take_up_retries(ts_ns)
        if self._interval_ns and ts_ns // self._interval_ns != self._rebalanced:
            self._rebalanced = ts_ns // self._interval_ns
            self._take_up_all()
        if self._due:
            self._decide(ts_ns, out)
        return out

    # -- what happened -------------------------------------------------------------------------------------------------

    def _open_day(self, ts_ns: int, day: int) -> list[Record]:
        """Begin a new session when the tick's bars do: ahead of its executions, which belong to it."""
        before, self._trading_day = self._trading_day, day
        if self._settled is not None and before:
            self._settled.next_session()
        cash = self.ledger.cash
        paid = self._entitlements.open_day(ts_ns, before, day)
        if self._settled is not None:
            self._settled.credited(self.ledger.cash - cash)
        return paid

    def _take_effect(self, ts_ns: int, records: Sequence[Record], moved: dict[str, None]) -> list[Record]:
        """Corporate actions and exchange rates, ahead of the tick's executions as well."""
        cash = self.ledger.cash
        changed = self._entitlements.take_effect(ts_ns, records, self._trading_day, moved)
        if self._settled is not None:
            self._settled.credited(self.ledger.cash - cash)
        return changed

    def _entitled(self) -> Entitlements:
        settings = self.settings
        return Entitlements(
            settings.accruals, settings.currency, self.ledger, self.marks, self._targets, self._estimates, self._weights
        )

    def _constructed(self) -> Construction:
        books = (self.ledger, self._settled, self.marks)
        return Construction(self.settings, self._listed, *books, self._targets, self._estimates, self._weights)

    def _book(self, ts_ns: int, execution: Execution, moved: dict[str, None], out: list[Record]) -> None:
        cash_before = self.ledger.cash
        changes = self.ledger.apply(execution)
        if self._settled is not None:
            self._settled.traded(self.ledger.cash - cash_before)
        symbol = execution.symbol
        if changes:
            out.extend(changes)
            self.marks.prices.setdefault(symbol, float(execution.price))
            moved[symbol] = None
        if is_manual(execution.order_id):
            if changes:
                signed = execution.quantity if execution.side == BUY else -execution.quantity
                trade_by_hand(self._targets.setdefault(symbol, {}), quantize(signed), float(execution.price))
            return
        pending = self._pending.get(symbol)
        if pending is None or not pending.is_of(execution):
            return
        if changes and self._estimates.by_trades:
            self._estimates.closed(symbol, changes, self.ledger.unit_value(symbol))
        if execution.exec_type == TRADE:
            self._reserved -= pending.reserved
            filled = quantize(execution.quantity)
            pending.leaves -= filled if execution.side == BUY else -filled
            self._reserved += pending.reserved
            if execution.leaves_quantity == 0 or pending.leaves == 0:
                self._release(ts_ns, symbol, pending)
        elif execution.exec_type in GONE:
            self._release(ts_ns, symbol, pending)

    def _see(self, signal: Signal) -> None:
        traded = self.settings.strategies
        if traded is not None and signal.strategy not in traded:
            return
        targets = self._targets.setdefault(signal.symbol, {})
        old = targets.get(signal.strategy)
        if self._estimates.by_comparison and signal.direction != (0 if old is None else old.direction):
            self._regroup = True
        targets[signal.strategy] = Target(
            signal.direction,
            signal.strength,
            signal.price,
            signal_id(signal.symbol, signal.seq),
            ZERO if old is None else old.quantity,
        )
        self._due.setdefault(signal.symbol, {})[signal.strategy] = None

    def _refused(self, ts_ns: int, refusal: OrderRefusal) -> None:
        if refusal.seq <= self._refusal_seq:
            return
        self._refusal_seq = refusal.seq
        pending = self._pending.get(refusal.symbol)
        if pending is not None and pending.proposal_id == refusal.cause_id:
            self._release(ts_ns, refusal.symbol, pending)

    def _release(self, ts_ns: int, symbol: str, pending: Pending) -> None:
        """The order is over. What did not trade is given up if it was to add, and tried again if it was to reduce."""
        self._reserved -= pending.reserved
        del self._pending[symbol]
        if self._estimates.by_trades:
            self._estimates.over(symbol, pending.strategies)
        if not pending.leaves:
            return
        targets = self._targets[symbol]
        held = self.ledger.quantity(symbol)
        wanted = total(targets)
        reachable = min(wanted, held, key=abs) if wanted * held > 0 else ZERO
        give_up(targets, pending.strategies, wanted - reachable)
        if reachable != held:
            self._retry[symbol] = (ts_ns + self.settings.exit_retry_s * _SECOND_NS, pending.strategies)

    def _take_up_retries(self, ts_ns: int) -> None:
        for symbol in [symbol for symbol, (at_ns, _) in self._retry.items() if at_ns <= ts_ns]:
            _, strategies = self._retry.pop(symbol)
            due = self._due.setdefault(symbol, {})
            for strategy in strategies:
                due[strategy] = None

    def _take_up_all(self) -> None:
        for symbol, targets in self._targets.items():
            for strategy, target in targets.items():
                if target.direction:
                    self._due.setdefault(symbol, {})[strategy] = None

    # -- what to do about it -------------------------------------------------------------------------------------------

    def _decide(self, ts_ns: int, out: list[Record]) -> None:
        equity = self.ledger.cash + self.marks.net
        if self._regroup:
            self._regroup = False
            self._take_up_all()
        if self._estimates.by_comparison:
            self._construction.compare()
        ready = [(symbol, sorted(self._due[symbol])) for symbol in sorted(self._due) if symbol not in self._pending]
        turnover = self._construction.turnover(ready, equity)
        for symbol, due in ready:
            del self._due[symbol]
            step = self._construction.step(symbol, due, equity, turnover, self._reserved)
            if step is not None and step.delta:
                out.append(self._propose(ts_ns, symbol, due, step))

    def _propose(self, ts_ns: int, symbol: str, due: list[str], step: Step) -> OrderProposal:
        self._retry.pop(symbol, None)
        self._proposal_seq += 1
        cause, delta, settings = proposal_id(self._proposal_seq), step.delta, self.settings
        pending = self._pending[symbol] = Pending(cause, delta, delta, step.unit_cost, tuple(due))
        self._reserved += pending.reserved
        limited = settings.order_type == LIMIT
        return OrderProposal(
            self._proposal_seq,
            ts_ns,
            cause,
            symbol,
            BUY if delta > 0 else SELL,
            abs(delta),
            settings.order_type,
            self._construction.limit_price(symbol, step.price, buying=delta > 0) if limited else None,
            settings.time_in_force,
            "+".join(due),
            step.price,
            step.text,
            self._causes(symbol, due),
        )

    def _causes(self, symbol: str, due: Sequence[str]) -> list[str]:
        """The signals, and behind them the command that the target weights come from."""
        weighed = [self._weights.cause] if self._by_weights and self._weights.cause else []
        return [self._targets[symbol][strategy].signal_id for strategy in due] + weighed

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Any, ...]:
        return (
            SNAPSHOT_VERSION,
            self.ledger.snapshot(),
            self.marks.snapshot(),
            (self._valuation_seq, self._proposal_seq, self._refusal_seq, self._rebalanced, self._trading_day),
            None if self._settled is None else self._settled.snapshot(),
            [(s, [(n, *t.as_tuple()) for n, t in targets.items()]) for s, targets in self._targets.items()],
            [(symbol, pending.as_tuple()) for symbol, pending in self._pending.items()],
            [(symbol, list(strategies)) for symbol, strategies in self._due.items()],
            [(symbol, at_ns, strategies) for symbol, (at_ns, strategies) in self._retry.items()],
            self._estimates.snapshot(),
            self._entitlements.snapshot(),
            self._weights.snapshot(),
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Version 1 knew no estimates, and some of its pending orders end with an order id; 2 knew no entitlements, 3
        no target weights.
        """
        version, ledger, marks, counters, settled, targets, pending, due, retry, *later = snapshot
        assert version in (1, 2, 3, SNAPSHOT_VERSION), f"portfolio snapshot of version {version}"
        self.ledger.restore(ledger)
        self.marks.restore(marks)
        self._valuation_seq, self._proposal_seq, self._refusal_seq, self._rebalanced, self._trading_day = counters
        if self._settled is not None:
            # Where the setting is new, all that is there counts as settled.
            self._settled.restore(settled or SettledCash(self.ledger.cash, days=0).snapshot())
        self._targets = Targets({symbol: {row[0]: Target(*row[1:]) for row in rows} for symbol, rows in targets})
        self._pending = {symbol: Pending(*row[:5]) for symbol, row in pending}
        self._reserved = sum((p.reserved for p in self._pending.values()), ZERO)
        self._due = {symbol: dict.fromkeys(strategies) for symbol, strategies in due}
        self._retry = {symbol: (at_ns, tuple(strategies)) for symbol, at_ns, strategies in retry}
        self._estimates, self._weights = Estimates(self.settings.sizing), TargetWeights()
        self._entitlements, self._construction = self._entitled(), self._constructed()
        for part, state in zip((self._estimates, self._entitlements, self._weights), later, strict=False):
            part.restore(state)  # type: ignore[attr-defined]
        if self.settings.strategies is not None:
            for symbol, wishes in self._targets.items():
                for strategy in leave(wishes, (*self.settings.strategies, MANUAL)):
                    self._due.setdefault(symbol, {})[strategy] = None
