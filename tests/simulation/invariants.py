"""What must hold after every step of a simulated platform, whatever was delayed, repeated or killed."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from dataflows.replay.recording import GIVEN
from dataflows.runtime import topology
from operators.alignment import AlignedLogs, Log
from operators.stage import Stage
from schemas.records import (
    BUY,
    BY_SYMBOL,
    TOPIC_OF,
    TRADE,
    Attribution,
    Clock,
    Execution,
    Order,
    OrderProposal,
    Record,
    Valuation,
)
from tests.simulation.world import DERIVED_LOGS, PARTITIONS, Feed, LogName, Service, World, unrepeated

ZERO = Decimal(0)
Name = tuple[str, str, int]


class Books:
    """Positions and cash by the plainest arithmetic, as of one tick."""

    def __init__(self, capital: Decimal) -> None:
        self.cash, self.held = capital, dict[str, Decimal]()

    def fold(self, execution: Execution) -> None:
        if execution.exec_type == TRADE:
            signed = execution.quantity if execution.side == BUY else -execution.quantity
            self.held[execution.symbol] = self.held.get(execution.symbol, ZERO) + signed
            self.cash -= signed * execution.price + execution.fee

    def copy(self) -> Books:
        other = Books(self.cash)
        other.held = dict(self.held)
        return other


class Invariants:
    """A fused run beside the simulated one, fed as the feed writes, and the naive books of every tick.

    Every record that a service writes must be the fused run's; the fused run's own decisions must keep the rules.
    """

    def __init__(self, fused: Stage, capital: Decimal, position_max: Decimal) -> None:
        logs = [
            Log(topic, p, topic != "commands") for topic in GIVEN for p in topology.partitions_of(topic, PARTITIONS)
        ]
        self._reader = AlignedLogs("fused", logs)
        self._fused = fused
        self._offsets: dict[LogName, int] = {}
        self._expected: dict[Name, Record] = {}
        # A shard may be ahead of the fused run, which needs the clocks of all.
        self._ahead: dict[Name, list[Record]] = {}
        self._position_max, self._capital = position_max, capital
        self._now = Books(capital)
        self._books: dict[int, Books] = {-1: self._now.copy()}
        self._orders: dict[str, Order] = {}
        self._causes: set[str] = set()
        self._left: dict[str, Decimal] = {}
        self._halts = self.records = 0

    # -- as messages are written

    def written(self, log: LogName, message: Any) -> None:
        if log[0] in GIVEN:
            offset = self._offsets[log] = self._offsets.get(log, -1) + 1
            self._reader.feed(*log, [(offset, message)])
            for tick in self._reader.ticks():
                self._decide(tick.ts_ns, self._fused.on_tick(tick.ts_ns, tick.records))
        elif type(message) is not Clock:
            name = _name(message)
            if name in self._expected:
                expected = self._expected[name]
                assert message == expected, f"{log}: wrote {message}, the fused run has {expected}"
            else:
                self._ahead.setdefault(name, []).append(message)

    def _decide(self, ts_ns: int, records: list[Record]) -> None:
        for record in records:
            self.records += 1
            name = _name(record)
            assert name not in self._expected, f"seq twice: {record}"
            self._expected[name] = record
            for early in self._ahead.pop(name, ()):
                assert early == record, f"wrote {early}, the fused run has {record}"
            if isinstance(record, OrderProposal):
                self._causes.add(record.proposal_id)
            elif isinstance(record, Execution):
                self._check_execution(record)
            elif isinstance(record, Order):
                self._check_order(record)
            elif isinstance(record, Valuation):
                self._check_valuation(record)
        self._check_attribution(records)
        self._books[ts_ns] = self._now.copy()

    def _check_attribution(self, records: list[Record]) -> None:
        rows = [record for record in records if isinstance(record, Attribution)]
        for valuation in records:
            if isinstance(valuation, Valuation):
                made = (
                    sum((row.realized_pnl + row.cash_flows for row in rows), ZERO),
                    sum((row.unrealized_pnl for row in rows), ZERO),
                    sum((row.fees for row in rows), ZERO),
                )
                assert made == (valuation.realized_pnl, valuation.unrealized_pnl, valuation.fees), (rows, valuation)
        assert not any(row.strategy == "unattributed" for row in rows), rows

    def _check_execution(self, execution: Execution) -> None:
        order = self._orders.get(execution.order_id)
        assert order is not None, f"an execution without an approved order: {execution}"
        assert order.ts_ns < execution.ts_ns, f"filled before it was decided: {execution}"
        self._now.fold(execution)
        left = self._left.get(order.order_id, ZERO) - execution.quantity
        assert left >= 0, f"more traded than approved: {execution}"
        if execution.exec_type == TRADE or execution.exec_type == "NEW":
            self._left[order.order_id] = left
        else:
            self._left.pop(order.order_id, None)

    def _check_order(self, order: Order) -> None:
        assert order.cause_id in self._causes, f"an order that nobody proposed: {order}"
        self._orders[order.order_id] = order
        self._left[order.order_id] = order.quantity
        worst = self._now.held.get(order.symbol, ZERO)
        for order_id, left in self._left.items():
            other = self._orders[order_id]
            if other.symbol == order.symbol and other.side == order.side:
                worst += left if order.side == BUY else -left
        assert abs(worst) <= self._position_max, f"could reach {worst} of {self._position_max}: {order}"

    def _check_valuation(self, valuation: Valuation) -> None:
        found = (valuation.cash, valuation.equity)
        made = self._capital + valuation.realized_pnl + valuation.unrealized_pnl - valuation.fees
        assert found == (self._now.cash, valuation.cash + valuation.net_exposure), valuation
        assert valuation.equity == made, f"equity {valuation.equity} is not what was made of the capital: {made}"

    # -- after each step

    def after_step(self, moved: Feed | Service) -> None:
        if isinstance(moved, Service) and moved.name in ("portfolio", "risk"):
            self._check_books(moved.name, moved.stage, self._books[moved.passed_ns])

    def _check_books(self, name: str, stage: Any, books: Books) -> None:
        held: Callable[[str], Decimal]
        if name == "portfolio":
            cash, held = stage.ledger.cash, stage.ledger.quantity
        else:
            holdings = stage._book.holdings
            cash = stage._book.cash
            held = lambda symbol: holdings[symbol].quantity if symbol in holdings else ZERO  # noqa: E731
        assert cash == books.cash, f"{name} has cash {cash}, its executions give {books.cash}"
        for symbol, quantity in books.held.items():
            assert held(symbol) == quantity, f"{name} holds {held(symbol)} {symbol}, its executions give {quantity}"

    # -- at the end

    def at_end(self, world: World) -> None:
        """Every log holds what the fused run decided: nothing less, nothing more, in its order."""
        assert not self._ahead, f"the fused run has none of {list(self._ahead)[:5]}"
        written = [record for log in DERIVED_LOGS for record in unrepeated(log, world.topics.logs[log])]
        missing = self._expected.keys() - {_name(record) for record in written}
        assert not missing, f"never written: {sorted(missing)[:5]}"
        assert len(written) == len(self._expected)
        for log in DERIVED_LOGS:
            seqs: dict[str, int] = {}
            for record in unrepeated(log, world.topics.logs[log]):
                _, key, seq = _name(record)
                assert seq == seqs.get(key, 0) + 1, f"{log}: {record} follows seq {seqs.get(key, 0)}"
                seqs[key] = seq


def _name(record: Any) -> Name:
    kind = type(record)
    return TOPIC_OF[kind], record.symbol if kind in BY_SYMBOL else "", record.seq
