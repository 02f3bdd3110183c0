"""Trade the strategies' targets: one order for each symbol at a time, and internal crosses of opposite changes.

Several strategies can have a target for one symbol. One proposal trades the difference between the sum of the targets
and the position. Where one strategy buys what another sells, they trade with each other, at the price of the order's
first fill, or at the mark if no order is needed (`operators/strategy_shares.py`).

While a symbol has a pending proposal, no other one is made. A target that arrives in the meantime waits until the order
is filled, rejected or cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from operators.ledger import Ledger
from operators.ledger.account import LedgerRecord
from operators.manual_orders import MANUAL, is_for_account, trading_strategy_of
from operators.money import ZERO, quantize
from operators.portfolio.construction import Construction, PlannedTrade
from operators.portfolio.order_strategies import OrderStrategies
from operators.portfolio.requested_targets import RequestedTarget, RequestedView
from operators.portfolio.settings import PortfolioSettings
from operators.portfolio.target_reductions import reduction_record, reductions_of
from operators.portfolio.targets import (
    ORDER_END_TYPES,
    PendingOrder,
    Target,
    Targets,
    apply_manual_trade,
    apply_own_trade,
    changes_of,
    drop_untraded,
    net_held,
)
from operators.sizing import Estimates, TargetWeights
from operators.strategy_shares import match_changes, share_fill, to_texts
from operators.valuation import Marks
from schemas.records import (
    BUY,
    LIMIT,
    SELL,
    TRADE,
    Execution,
    InternalCross,
    OrderProposal,
    OrderRefusal,
    OrderTerms,
    Record,
    cross_id,
    proposal_id,
)

_SECOND_NS = 1_000_000_000


class TargetTrading:
    """The targets with what is held of them, the pending proposals, and the strategies that are due.

    Reads `ledger`, `marks` and `weights`. `estimates` learn from closed trades. `construction` sizes the targets.
    """

    def __init__(
        self, settings: PortfolioSettings, ledger: Ledger, marks: Marks, estimates: Estimates, weights: TargetWeights
    ) -> None:
        self._settings = settings
        self._ledger, self._marks, self._estimates, self._weights = ledger, marks, estimates, weights
        self.targets = Targets()
        self.seq = 0  # of the topic order-proposals
        self.pending: dict[str, PendingOrder] = {}
        self.order_strategies = OrderStrategies()
        self.due: dict[str, dict[str, None]] = {}  # symbol -> strategies with a target to apply
        # symbol -> time at which its exit is proposed again, and for which strategies
        self.exit_retries: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._reserved = ZERO
        self._rebalance_all = False  # a view started or ended, which changes the other symbols' shares
        # From the reports of a time slice: first fills of net orders, with which crosses trade, and ended orders
        self._first_fills: dict[str, Execution] = {}
        self._ended: dict[str, PendingOrder] = {}

    # -- targets

    def set_target(
        self, symbol: str, strategy: str, requested: RequestedTarget | RequestedView, price: float, cause_id: str
    ) -> None:
        """Set the target of a strategy. Its quantity changes when the order is proposed."""
        targets = self.targets.setdefault(symbol, {})
        previous = targets.get(strategy)
        quantity, held = (ZERO, ZERO) if previous is None else (previous.quantity, previous.held)
        if isinstance(requested, RequestedView):
            direction, strength, own_size = requested.direction, requested.strength, None
        else:
            # Without a direction, so that a rebalance of all views leaves it as it is.
            direction, strength, own_size = 0, 0.0, requested
        if self._estimates.uses_comparison and direction != (0 if previous is None else previous.direction):
            self._rebalance_all = True
        targets[strategy] = Target(direction, strength, price, cause_id, quantity, own_size, held)
        self._add_due(symbol, [strategy])

    def queue_all(self) -> None:
        """Queue the active views of all symbols, so that they are applied again."""
        for symbol, targets in self.targets.items():
            self._add_due(symbol, [strategy for strategy, target in targets.items() if target.direction])

    def queue_retries(self, ts_ns: int) -> None:
        """Queue the exits whose retry time has passed, so that they are proposed again."""
        for symbol in [symbol for symbol, (at_ns, _) in self.exit_retries.items() if at_ns <= ts_ns]:
            _, strategies = self.exit_retries.pop(symbol)
            self._add_due(symbol, strategies)

    def split(self, symbol: str, ratio: Decimal, lot_size: Decimal) -> None:
        """Convert the pending order of a symbol at a split."""
        pending = self.pending.get(symbol)
        if pending is not None:
            self._reserved -= pending.reserved_cash
            pending.split(ratio, lot_size)
            self._reserved += pending.reserved_cash

    def _add_due(self, symbol: str, strategies: Iterable[str]) -> None:
        for strategy in strategies:
            self.due.setdefault(symbol, {})[strategy] = None

    # -- reports

    def apply_refusal(self, ts_ns: int, refusal: OrderRefusal) -> None:
        pending = self.pending.get(refusal.symbol)
        if pending is not None and pending.proposal_id == refusal.cause_id:
            self._close_pending(ts_ns, refusal.symbol, pending)

    def apply_report(self, execution: Execution, changes: Sequence[LedgerRecord]) -> None:
        """Apply a report whose ledger records are `changes`. Call `settle` after all reports of the time slice."""
        symbol = execution.symbol
        traded = quantize(execution.quantity if execution.side == BUY else -execution.quantity)
        strategy = trading_strategy_of(execution.order_id)
        if strategy is not None or is_for_account(execution.order_id):
            if changes:
                targets, price = self.targets.setdefault(symbol, {}), float(execution.price)
                if strategy is None:
                    apply_manual_trade(targets, traded, price)
                else:
                    apply_own_trade(targets, strategy, traded, price)
            return
        pending = self.pending.get(symbol)
        if pending is None or not pending.matches(execution):
            return
        if changes and self._estimates.uses_trades:
            self._estimates.record_closed_lots(symbol, changes, self._ledger.unit_value(symbol))
        if execution.exec_type == TRADE:
            self._reserved -= pending.reserved_cash
            pending.remaining -= traded
            self._reserved += pending.reserved_cash
            self._fill(pending, execution, traded)
            if execution.leaves_quantity == 0 or pending.remaining == 0:
                self._ended[symbol] = pending
        elif execution.exec_type in ORDER_END_TYPES:
            self._ended[symbol] = pending

    def settle(self, ts_ns: int, out: list[Record]) -> None:
        """Publish the crosses that trade with the reported fills, and end the orders that have ended.

        A cross is booked after all executions of its time slice, as the readers of both topics do: a manual sale in the
        same time slice then closes the same positions everywhere.
        """
        for symbol, execution in self._first_fills.items():
            pending = self.pending[symbol]
            if pending.changes:
                causes = [pending.proposal_id, execution.execution_id]
                self._cross(ts_ns, symbol, pending.changes, execution.price, causes, out)
        for symbol, pending in self._ended.items():
            self._close_pending(ts_ns, symbol, pending)
        self._first_fills.clear()
        self._ended.clear()

    def _fill(self, pending: PendingOrder, execution: Execution, traded: Decimal) -> None:
        """Divide a fill between the strategies of its order. With the first one, their opposite changes will trade."""
        targets = self.targets[execution.symbol]
        if not pending.has_traded:
            pending.has_traded = True
            self._first_fills[execution.symbol] = execution
        shares = share_fill(pending.changes, execution, traded) or [(self._only_strategy(targets, pending), traded)]
        for name, share in shares:
            targets[name].held += share

    @staticmethod
    def _only_strategy(targets: dict[str, Target], pending: PendingOrder) -> str:
        """Return the strategy of an order without changes by strategy."""
        return next((name for name in pending.strategies if targets[name].change), pending.strategies[0])

    def _cross(
        self,
        ts_ns: int,
        symbol: str,
        changes: dict[str, Decimal],
        price: Decimal,
        causes: list[str],
        out: list[Record],
    ) -> None:
        """Trade opposite changes between their strategies."""
        targets = self.targets[symbol]
        for one in match_changes(changes)[0]:
            self.seq += 1
            targets[one.buyer].held += one.quantity
            targets[one.seller].held -= one.quantity
            record = InternalCross(
                seq=self.seq,
                ts_ns=ts_ns,
                cross_id=cross_id(self.seq),
                symbol=symbol,
                quantity=one.quantity,
                price=quantize(price),
                buyer=one.buyer,
                seller=one.seller,
                cause_ids=causes,
            )
            out.append(record)

    def _close_pending(self, ts_ns: int, symbol: str, pending: PendingOrder) -> None:
        """End a pending order. An unfilled increase is abandoned; an unfilled reduction is retried later.

        A change that was to trade against an abandoned increase has an order of its own at once.
        """
        self._reserved -= pending.reserved_cash
        del self.pending[symbol]
        if self._estimates.uses_trades:
            self._estimates.record_order_end(symbol, pending.strategies)
        targets = self.targets[symbol]
        is_abandoned = False
        if pending.remaining:
            unfilled = {name: one for name, one in targets.items() if one.change * pending.remaining > 0}
            for target in unfilled.values():
                is_abandoned |= target.abandon_increase()
            # Only these are sized again: another strategy of the order would open a position that it has abandoned.
            if retried := tuple(name for name, target in unfilled.items() if target.change):
                self.exit_retries[symbol] = (ts_ns + self._settings.exit_retry_s * _SECOND_NS, retried)
        if is_abandoned or not pending.remaining:
            side = pending.remaining or ZERO
            self._add_due(symbol, [name for name, one in targets.items() if one.change and one.change * side <= 0])

    # -- proposals

    def propose(self, ts_ns: int, equity: Decimal, construction: Construction, out: list[Record]) -> None:
        """Apply the targets that are due, and publish the proposals, the crosses and the reduced targets."""
        if self._rebalance_all:
            self._rebalance_all = False
            self.queue_all()
        if self._estimates.uses_comparison:
            construction.update_active_symbols()
        ready = [
            (symbol, due)
            for symbol in sorted(self.due)
            if symbol not in self.pending and (due := self._next_due(symbol, equity, construction))
        ]
        turnover = construction.adjustment_turnover(ready, equity)
        for symbol, next_due in ready:
            due = next_due
            while due:
                self._remove_due(symbol, due)
                planned = construction.plan_trade(symbol, due, equity, turnover, self._reserved)
                if self._settings.trading_strategies:
                    self._report_reductions(ts_ns, symbol, due, planned, out)
                if planned is not None and planned.delta:
                    out.append(self._propose(ts_ns, symbol, due, planned, construction))
                elif planned is not None:
                    changes, causes = changes_of(self.targets[symbol]), self._cause_ids(symbol, due)
                    self._cross(ts_ns, symbol, changes, planned.price, causes, out)
                due = [] if symbol in self.pending else self._next_due(symbol, equity, construction)

    def _next_due(self, symbol: str, equity: Decimal, construction: Construction) -> list[str]:
        """Return the strategies of the next proposal, in order.

        All views are traded by one order, except those of strategies with limits on their orders, which risk can
        reject. A target that a strategy has sized itself has an order of its own, so that the order's fills belong to
        that strategy alone, unless another strategy trades in the opposite direction.
        """
        due, targets = sorted(self.due.get(symbol, ())), self.targets.get(symbol, {})
        retried = targets if symbol in self.exit_retries else self.due.get(symbol, ())
        due = [name for name in due if not construction.must_wait(symbol, name, retried, equity)]
        if len(due) > 1:
            crossing = construction.crossing_strategies(symbol, due, equity)
            if crossing:
                return crossing
        limited = self._settings.order_limited
        return [name for name in due if targets[name].requested is None and name not in limited] or due[:1]

    def _remove_due(self, symbol: str, strategies: Sequence[str]) -> None:
        due = self.due[symbol]
        for strategy in strategies:
            del due[strategy]
        if not due:
            del self.due[symbol]

    def _propose(
        self, ts_ns: int, symbol: str, due: list[str], planned: PlannedTrade, construction: Construction
    ) -> OrderProposal:
        self.exit_retries.pop(symbol, None)
        self.seq += 1
        new_id, delta, settings = proposal_id(self.seq), planned.delta, self._settings
        changes = changes_of(self.targets[symbol])
        if len(due) == 1 and list(changes) == due:
            changes = {}
        pending = self.pending[symbol] = PendingOrder(new_id, delta, delta, planned.unit_cost, tuple(due), changes)
        self._reserved += pending.reserved_cash
        strategy = "+".join(due)
        self.order_strategies.record(symbol, new_id, strategy)
        limit_price = None
        if settings.order_type == LIMIT:
            limit_price = construction.limit_price(symbol, planned.price, buying=delta > 0)
        return OrderProposal(
            seq=self.seq,
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
            strategy=strategy,
            reference_price=planned.price,
            sizing=planned.text,
            signal_ids=self._cause_ids(symbol, due),
            changes=to_texts(changes),
        )

    def _report_reductions(
        self, ts_ns: int, symbol: str, due: Sequence[str], planned: PlannedTrade | None, out: list[Record]
    ) -> None:
        """Publish the targets of trading strategies that a limit has reduced, or whose symbol has no price."""
        targets = self.targets[symbol]
        for one in reductions_of(targets, due, planned):
            if one.strategy in self._settings.trading_strategies:
                self.seq += 1
                out.append(reduction_record(self.seq, ts_ns, symbol, targets[one.strategy].signal_id, one))

    def _cause_ids(self, symbol: str, due: Sequence[str]) -> list[str]:
        """The ids of the signals, then of the command that set the target weights."""
        uses_weights = self._settings.sizing.method == "target_weights"
        weights_cause = [self._weights.command_id] if uses_weights and self._weights.command_id else []
        return [self.targets[symbol][strategy].signal_id for strategy in due] + weights_cause

    # -- state

    def snapshot(self) -> tuple[Any, Any, Any, Any]:
        """Return (targets, pending, due strategies, exit retries)."""
        return (
            [(s, [(n, *t.as_tuple()) for n, t in targets.items()]) for s, targets in self.targets.items()],
            [(symbol, pending.as_tuple()) for symbol, pending in self.pending.items()],
            [(symbol, list(strategies)) for symbol, strategies in self.due.items()],
            [(symbol, at_ns, strategies) for symbol, (at_ns, strategies) in self.exit_retries.items()],
        )

    def restore(self, targets: Any, pending: Any, due: Any, exit_retries: Any, held: Any) -> None:
        """Restore a snapshot. `held` is what the strategies hold, by symbol; None if the snapshot is without it.

        Some pending orders of old snapshots end with an order id; those without `held` have no changes by strategy.
        """
        self.targets.clear()
        for symbol, rows in targets:
            self.targets[symbol] = {row[0]: Target(*row[1:]) for row in rows}
        self.pending = {symbol: PendingOrder(*(row[:5] if held is None else row)) for symbol, row in pending}
        for symbol, order in self.pending.items():
            self.order_strategies.record(symbol, order.proposal_id, "+".join(order.strategies))
        self._reserved = sum((p.reserved_cash for p in self.pending.values()), ZERO)
        self.due = {symbol: dict.fromkeys(strategies) for symbol, strategies in due}
        self.exit_retries = {symbol: (at_ns, tuple(strategies)) for symbol, at_ns, strategies in exit_retries}
        if held is None:
            self._derive_held()
        for symbol, units in held or ():
            for strategy, quantity in units.items():
                self.targets[symbol][strategy].held = quantity
        if self._settings.strategies is not None:
            for symbol, symbol_targets in self.targets.items():
                traded = (*self._settings.strategies, *self._settings.trading_strategies, MANUAL)
                self._add_due(symbol, drop_untraded(symbol_targets, traded))

    def _derive_held(self) -> None:
        """Derive what the strategies hold from their targets, without what pending orders have yet to trade."""
        for symbol, targets in self.targets.items():
            for target in targets.values():
                target.held = target.quantity
            pending = self.pending.get(symbol)
            names = [] if pending is None else [name for name in pending.strategies if name in targets]
            largest = names[0] if names else max(targets, key=lambda name: abs(targets[name].quantity), default="")
            if largest:
                targets[largest].held += self._ledger.quantity(symbol) - net_held(targets)
