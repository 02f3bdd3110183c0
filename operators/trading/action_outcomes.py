"""The outcomes of the strategies' actions: decisions of risk and the portfolio in the previous time slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from operators.manual_orders import order_id_of, trading_strategy_of
from operators.trading.accounts import StrategyAccounts, StrategyFill
from operators.trading.order_updates import OrderUpdate
from operators.trading.removed_strategies import RemovedStrategy
from operators.trading.running_strategy import RunningStrategy
from operators.trading.target_orders import TargetOrders
from schemas.records import (
    InternalCross,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    Record,
    TargetReduction,
)

CrossFills = list[tuple[InternalCross, StrategyFill]]
"""The sides of internal crosses that belong to trading strategies."""


class ActionOutcomes:
    """Update the orders and sub-accounts of the strategies, and return what to pass to their handlers."""

    def __init__(
        self,
        accounts: StrategyAccounts,
        target_orders: TargetOrders,
        running: dict[str, RunningStrategy],
        removed: Mapping[str, RemovedStrategy],
    ) -> None:
        self._accounts, self._target_orders = accounts, target_orders
        self._running, self._removed = running, removed
        self.refusal_seq = 0

    def apply(self, ts_ns: int, records: Sequence[Record], updates: dict[str, list[OrderUpdate]]) -> CrossFills:
        """Process the decisions of a time slice, and add to the updates of each strategy. Return its crosses."""
        fills: CrossFills = []
        # Proposals first: in a time slice, refusals precede the proposals that they reject.
        for record in records:
            if type(record) is OrderProposal:
                self._accounts.record_proposal(record)
                self._target_orders.record_proposal(record)
            elif type(record) is InternalCross:
                if self._target_orders.is_new(record.seq):
                    fills += [(record, share) for share in self._accounts.book_cross(record)]
            elif type(record) is TargetReduction:
                reduced = self._target_orders.apply_reduction(record, ts_ns)
                if reduced is not None:
                    updates[reduced[0]].append(reduced[1])
        for record in records:
            if type(record) is OrderRefusal:
                if record.seq > self.refusal_seq:
                    self.refusal_seq = record.seq
                    self._apply_refusal(ts_ns, record, updates)
            elif type(record) is Order or type(record) is OrderCancel:
                owner = trading_strategy_of(record.order_id) or ""
                one = self._running.get(owner) or self._removed.get(owner)
                if one is not None:
                    orders = one.orders
                    if type(record) is Order:
                        orders.apply_order(record)
                    else:
                        assert type(record) is OrderCancel, "the only other type"
                        orders.apply_cancel(record)
        return fills

    def _apply_refusal(self, ts_ns: int, refusal: OrderRefusal, updates: dict[str, list[OrderUpdate]]) -> None:
        for name, update in self._target_orders.apply_refusal(refusal, ts_ns):
            updates[name].append(update)
        owner = trading_strategy_of(order_id_of(refusal.cause_id))
        if owner in self._running:
            own_update = self._running[owner].orders.apply_refusal(refusal, ts_ns)
            if own_update is not None:
                updates[owner].append(own_update)
        elif owner is not None and owner in self._removed:
            self._removed[owner].orders.apply_refusal(refusal, ts_ns)
