"""The invariants of a simulated platform after every step, for all delays, duplicates and crashes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from dataflows.replay.recording import INPUT_TOPICS
from dataflows.runtime import topology
from operators.alignment import AlignedLogs
from operators.log_cursor import LogInput
from operators.stage import Stage
from schemas.log_names import LogName
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
from tests.simulation.simulated_platform import (
    DERIVED_LOGS,
    PARTITIONS,
    SimulatedFeed,
    SimulatedPlatform,
    SimulatedService,
    without_duplicates,
)

ZERO = Decimal(0)
RecordKey = tuple[str, str, int]


class NaiveLedger:
    """Positions and cash as of one time slice, computed independently of the real ledger."""

    def __init__(self, capital: Decimal) -> None:
        self.cash, self.quantities = capital, dict[str, Decimal]()

    def apply(self, execution: Execution) -> None:
        if execution.exec_type == TRADE:
            signed = execution.quantity if execution.side == BUY else -execution.quantity
            self.quantities[execution.symbol] = self.quantities.get(execution.symbol, ZERO) + signed
            self.cash -= signed * execution.price + execution.fee

    def copy(self) -> NaiveLedger:
        duplicate = NaiveLedger(self.cash)
        duplicate.quantities = dict(self.quantities)
        return duplicate


class Invariants:
    """A fused run beside the simulated one, with the same inputs, and a naive ledger for every time slice.

    Each record of a service must equal the fused run's record. The decisions of the fused run must satisfy the rules.
    """

    def __init__(self, fused: Stage, capital: Decimal, position_max: Decimal) -> None:
        logs = [
            LogInput(topic, p, topic != "commands")
            for topic in INPUT_TOPICS
            for p in topology.partitions_of(topic, PARTITIONS)
        ]
        self._reader = AlignedLogs("fused", logs)
        self._fused = fused
        self._offsets: dict[LogName, int] = {}
        self._expected: dict[RecordKey, Record] = {}
        # A shard may be ahead of the fused run, which waits for the clocks of all inputs.
        self._early_records: dict[RecordKey, list[Record]] = {}
        self._position_max, self._capital = position_max, capital
        self._ledger = NaiveLedger(capital)
        self._ledger_by_ts: dict[int, NaiveLedger] = {-1: self._ledger.copy()}
        self._orders: dict[str, Order] = {}
        self._proposal_ids: set[str] = set()
        self._remaining: dict[str, Decimal] = {}
        self._halts = self.record_count = 0

    # -- on each message

    def on_message(self, log: LogName, message: Any) -> None:
        if log[0] in INPUT_TOPICS:
            offset = self._offsets[log] = self._offsets.get(log, -1) + 1
            self._reader.feed(*log, [(offset, message)])
            for time_slice in self._reader.take_slices():
                self._decide(time_slice.ts_ns, self._fused.on_slice(time_slice.ts_ns, time_slice.records))
        elif type(message) is not Clock:
            record_key = _record_key(message)
            if record_key in self._expected:
                expected = self._expected[record_key]
                assert message == expected, f"{log}: wrote {message}, the fused run has {expected}"
            else:
                self._early_records.setdefault(record_key, []).append(message)

    def _decide(self, ts_ns: int, records: list[Record]) -> None:
        for record in records:
            self.record_count += 1
            record_key = _record_key(record)
            assert record_key not in self._expected, f"seq twice: {record}"
            self._expected[record_key] = record
            for early in self._early_records.pop(record_key, ()):
                assert early == record, f"wrote {early}, the fused run has {record}"
            if isinstance(record, OrderProposal):
                self._proposal_ids.add(record.proposal_id)
            elif isinstance(record, Execution):
                self._check_execution(record)
            elif isinstance(record, Order):
                self._check_order(record)
            elif isinstance(record, Valuation):
                self._check_valuation(record)
        self._check_attribution(records)
        self._ledger_by_ts[ts_ns] = self._ledger.copy()

    def _check_attribution(self, records: list[Record]) -> None:
        rows = [record for record in records if isinstance(record, Attribution)]
        for valuation in records:
            if isinstance(valuation, Valuation):
                attributed = (
                    sum((row.realized_pnl + row.cash_flows for row in rows), ZERO),
                    sum((row.unrealized_pnl for row in rows), ZERO),
                    sum((row.fees for row in rows), ZERO),
                )
                assert attributed == (valuation.realized_pnl, valuation.unrealized_pnl, valuation.fees), (
                    rows,
                    valuation,
                )
        assert not any(row.strategy == "unattributed" for row in rows), rows

    def _check_execution(self, execution: Execution) -> None:
        order = self._orders.get(execution.order_id)
        assert order is not None, f"an execution without an approved order: {execution}"
        assert order.ts_ns < execution.ts_ns, f"filled before it was decided: {execution}"
        self._ledger.apply(execution)
        remaining = self._remaining.get(order.order_id, ZERO) - execution.quantity
        assert remaining >= 0, f"more traded than approved: {execution}"
        if execution.exec_type == TRADE or execution.exec_type == "NEW":
            self._remaining[order.order_id] = remaining
        else:
            self._remaining.pop(order.order_id, None)

    def _check_order(self, order: Order) -> None:
        assert order.cause_id in self._proposal_ids, f"an order without a proposal: {order}"
        self._orders[order.order_id] = order
        terms = order.terms
        self._remaining[order.order_id] = terms.quantity
        position_worst_case = self._ledger.quantities.get(terms.symbol, ZERO)
        for order_id, remaining in self._remaining.items():
            other = self._orders[order_id].terms
            if other.symbol == terms.symbol and other.side == terms.side:
                position_worst_case += remaining if terms.side == BUY else -remaining
        assert abs(position_worst_case) <= self._position_max, (
            f"could reach {position_worst_case} of {self._position_max}: {order}"
        )

    def _check_valuation(self, valuation: Valuation) -> None:
        reported = (valuation.cash, valuation.equity)
        equity_expected = self._capital + valuation.realized_pnl + valuation.unrealized_pnl - valuation.fees
        assert reported == (self._ledger.cash, valuation.cash + valuation.net_exposure), valuation
        assert valuation.equity == equity_expected, (
            f"equity {valuation.equity} is not what was made of the capital: {equity_expected}"
        )

    # -- after each step

    def after_step(self, participant: SimulatedFeed | SimulatedService) -> None:
        if isinstance(participant, SimulatedService) and participant.name in ("portfolio", "risk"):
            self._check_ledger(participant.name, participant.stage, self._ledger_by_ts[participant.passed_ns])

    def _check_ledger(self, name: str, stage: Any, ledger: NaiveLedger) -> None:
        position_of: Callable[[str], Decimal]
        if name == "portfolio":
            cash, position_of = stage.ledger.cash, stage.ledger.quantity
        else:
            positions, cash = stage.book.positions, stage.book.cash
            position_of = lambda symbol: positions[symbol].quantity if symbol in positions else ZERO  # noqa: E731
        assert cash == ledger.cash, f"{name} has cash {cash}, its executions give {ledger.cash}"
        for symbol, quantity in ledger.quantities.items():
            assert position_of(symbol) == quantity, (
                f"{name} holds {position_of(symbol)} {symbol}, its executions give {quantity}"
            )

    # -- at the end

    def at_end(self, world: SimulatedPlatform) -> None:
        """Each log contains exactly the records of the fused run, in the same order."""
        assert not self._early_records, f"the fused run has none of {list(self._early_records)[:5]}"
        records = [record for log in DERIVED_LOGS for record in without_duplicates(log, world.topics.logs[log])]
        missing = self._expected.keys() - {_record_key(record) for record in records}
        assert not missing, f"never written: {sorted(missing)[:5]}"
        assert len(records) == len(self._expected)
        for log in DERIVED_LOGS:
            seqs: dict[str, int] = {}
            for record in without_duplicates(log, world.topics.logs[log]):
                _, key, seq = _record_key(record)
                assert seq == seqs.get(key, 0) + 1, f"{log}: {record} follows seq {seqs.get(key, 0)}"
                seqs[key] = seq


def _record_key(record: Any) -> RecordKey:
    kind = type(record)
    return TOPIC_OF[kind], record.symbol if kind in BY_SYMBOL else "", record.seq
