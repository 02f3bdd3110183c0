"""Rebuild the books from executions and corporate actions, and compare them with the tables and recovery stores.

The tables are positions, lots, matches and cash in PostgreSQL; the P&L by strategy must sum to the rebuilt books. On a
running platform each of these has its own clock. The portfolio's tables are read in one snapshot, at the clock of their
last valuation. The executions are read afterwards, when all up to that clock are present, and booked up to it. A
recovery snapshot is compared when the rebuilt ledger passes its clock. Memory use does not grow with the history:
tables and ledger are both in `seq` order and are read side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from heapq import merge
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2

from deploy.verification.attribution import AttributionWalk
from deploy.verification.books_at_slice import BooksAtSlice, naive_books
from deploy.verification.lot_strategies import check_lot_strategies
from deploy.verification.marks import RebuiltMarks
from deploy.verification.naive_ledger import first_difference
from deploy.verification.unchanged_rows import UnchangedRows
from deploy.verification.verdict import Comparison, VerificationResult
from operators.decision_hash import DecisionHash
from operators.ledger import Ledger
from operators.ledger.cash import Charge
from operators.ledger.events import to_ledger_event
from operators.money import ONE, divide, multiply
from operators.reference_data import split_merger
from schemas.records import (
    CASH_DIVIDEND,
    EXCHANGE_RATE,
    CashFlow,
    CashTransfer,
    CorporateAction,
    ExchangeRate,
    Execution,
    GatewayStatus,
    Lot,
    LotMatch,
    Order,
    Position,
    Record,
    RiskFence,
    StrategySuspension,
    Valuation,
)
from sinks.database import libpq_url
from sinks.queries import last_record, stream_records, stream_suspensions

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

    from sinks.archive.table_archive import TableArchive


class SnapshotLedger(NamedTuple):
    """The books in a service's recovery store at `clock_ns`.

    `first_difference` takes the ledger at that clock and returns the first difference as a sentence, or None.
    """

    service: str
    clock_ns: int
    first_difference: Callable[[Ledger], str | None]


def snapshot_connection(database_url: str) -> Connection:
    """Open a read-only connection that sees the database as of its first query. Raises psycopg2.Error."""
    connection = psycopg2.connect(libpq_url(database_url), connect_timeout=5, application_name="verify")
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    return connection


def compare_ledger(
    database_url: str,
    books: Ledger | BooksAtSlice,
    snapshots: Sequence[SnapshotLedger] = (),
    archive: TableArchive | None = None,
) -> VerificationResult:
    """Book the stored executions into `books` and compare the results. `archive` has the archived bars.

    `books` are empty, or those of a checkpoint at or before the last valuation: then only later executions are read,
    and the result has no hash of all decisions. Raises psycopg2.Error, and Unavailable if the archive is damaged.
    """
    start = books if isinstance(books, BooksAtSlice) else BooksAtSlice(-1, books)
    is_whole = start.slice_ns < 0
    with closing(snapshot_connection(database_url)) as db:
        valuation = last_record(db, Valuation)
        upto_ns = None if valuation is None else valuation.ts_ns
        first_seq = start.ledger.seq
        with closing(snapshot_connection(database_url)) as later_db:
            attribution = AttributionWalk(db, upto_ns, start.slice_ns)
            marks = RebuiltMarks(later_db, archive, start.prices, start.slice_ns)
            rebuild = _LedgerRebuild(db, start, attribution, marks)
            later = [snapshot for snapshot in snapshots if snapshot.clock_ns >= start.slice_ns]
            rebuild.book_executions(later_db, upto_ns, sorted(later, key=lambda snapshot: snapshot.clock_ns))
            if is_whole:
                for decision in _other_decisions(later_db):
                    rebuild.decisions.add(decision)
        if valuation is not None:
            rebuild.decisions.add(valuation)
        cash_check = _check_cash(rebuild.cash, valuation, rebuild.executions)
        checks = [
            *rebuild.checks(),
            check_lot_strategies(db, first_seq),
            cash_check,
            rebuild.attribution.check(),
            *rebuild.snapshot_checks,
            *(
                Comparison(f"snapshot {one.service}", 0, None, "not compared: it is older than the checkpoint")
                for one in snapshots
                if one not in later
            ),
        ]
    return VerificationResult(checks, rebuild.decisions.hexdigest() if is_whole else "")


def _other_decisions(db: Connection) -> Iterator[Record]:
    """Yield the decisions that are not part of the books."""
    yield from stream_records(db, Order)
    yield from stream_records(db, RiskFence)
    yield from stream_suspensions(db)
    yield from stream_records(db, StrategySuspension)


class _LedgerRebuild:
    def __init__(self, db: Connection, start: BooksAtSlice, attribution: AttributionWalk, marks: RebuiltMarks) -> None:
        ledger = start.ledger
        self._db, self._ledger, self._marks = db, ledger, marks
        self.naive = naive_books(ledger, start.accrued_dividends, self._rate)
        self._unchanged = UnchangedRows(ledger)
        self.attribution = attribution
        self.decisions = DecisionHash()
        self.executions = 0
        self._seq, self._first_seq = ledger.execution_seq, ledger.seq
        self._gap: str | None = None
        self._closed = False
        self._events: dict[str, CorporateAction] = {}
        self._rates: dict[str, ExchangeRate] = {}
        self._transfers: dict[str, CashTransfer] = {}
        self._walks: dict[type, _TableWalk] = {
            Position: _TableWalk("positions", "symbol", self._hash_records(Position), latest=True),
            Lot: _TableWalk("lots", "lot_id", self._hash_records(Lot), latest=True),
            LotMatch: _TableWalk("lot_matches", "match_id", self._hash_records(LotMatch), latest=False),
            CashFlow: _TableWalk(
                "cash_flows", "cash_flow_id", stream_records(db, CashFlow, self._first_seq), latest=False
            ),
        }
        self.snapshot_checks: list[Comparison] = []
        self._naive_difference: str | None = None
        self.cash: dict[str, Any] = self._cash_totals()

    def _hash_records(self, kind: type[Any]) -> Iterator[Any]:
        for record in stream_records(self._db, kind, self._first_seq):
            self.decisions.add(record)
            yield record

    def book_executions(self, db: Connection, upto_ns: int | None, snapshots: Sequence[SnapshotLedger]) -> None:
        """Book executions up to `upto_ns` (None for all) against the tables, then up to the last of `snapshots`."""
        pending = list(snapshots)
        actions = (part for each in stream_records(db, CorporateAction) for part in split_merger(each))
        self._events = {each.action_id: each for each in actions if isinstance(each, CorporateAction)}
        self._rates = {each.rate_id: each for each in stream_records(db, ExchangeRate)}
        self._transfers = {each.transfer_id: each for each in stream_records(db, CashTransfer, self._seq)}
        # Executions, gateway statuses and cash transfers share one `seq`; only executions are booked, and transfers by
        # their cash flow. Cash flows without a trade come before the trades of their time slice.
        kinds = (Execution, GatewayStatus, CashTransfer, CashFlow)
        reports: list[Iterator[Any]] = [
            stream_records(db, kind, self._first_seq if kind is CashFlow else self._seq) for kind in kinds
        ]
        for record in merge(*reports, key=lambda each: (each.ts_ns, type(each) is not CashFlow, each.seq)):
            self.attribution.compare_until(self._ledger, self._marks, record.ts_ns)
            while pending and pending[0].clock_ns < record.ts_ns:
                self._compare_snapshot(pending.pop(0))
            if upto_ns is not None and record.ts_ns > upto_ns:
                self._close_tables()
                if not pending:
                    break
            self._apply(record)
        self.attribution.compare_until(self._ledger, self._marks, None)
        self._close_tables()
        for snapshot in pending:
            self._compare_snapshot(snapshot)

    def _apply(self, record: Execution | GatewayStatus | CashTransfer | CashFlow) -> None:
        if isinstance(record, CashFlow):
            if not self._closed:
                self.naive.book_cash_flow(record, self._events.get(record.cause_id))
            self._expect_all(self._book_cash_flow(record))
            return
        if not self._closed and record.seq != self._seq + 1 and self._gap is None:
            self._gap = f"executions: seq {self._seq + 1} is missing, the next is {record.seq}"
        self._seq = record.seq
        if isinstance(record, CashTransfer) and not self._closed:
            self.decisions.add(record)
        if not isinstance(record, Execution):
            return
        if not self._closed:
            self.executions += 1
            self.decisions.add(record)
            self.naive.book_execution(record)
        self._marks.on_execution(record)
        self._expect_all(self._ledger.apply(record))

    def _expect_all(self, rebuilt: Iterable[Any]) -> None:
        for record in rebuilt:
            if not self._closed:
                self._unchanged.record_change(record)
                self._walks[type(record)].expect(record)

    def _book_cash_flow(self, flow: CashFlow) -> list[Any]:
        """Book a cash flow without a trade: a corporate action, a new exchange rate, a transfer or a charge."""
        ledger, name = self._ledger, flow.cause_id
        if name in self._transfers:
            return [ledger.book_transfer(flow.ts_ns, self._transfers[name])]
        if flow.kind == EXCHANGE_RATE and name in self._rates:
            cash_flow = ledger.record_event(flow.ts_ns, flow.kind, "", name)
            ledger.set_rate(self._rates[name].base, self._rates[name].rate)
            return [cash_flow]
        action = self._events.get(name)
        if action is not None and action.kind == CASH_DIVIDEND:
            self._marks.on_dividend(flow.ts_ns, action, self._dividend_per_unit(flow.ts_ns, action))
        elif name in self._events and flow.kind == self._events[name].kind:
            cash_flow = ledger.record_event(flow.ts_ns, flow.kind, flow.symbol, name)
            self._marks.on_corporate_action(flow.ts_ns, self._events[name])
            event = to_ledger_event(self._events[name], flow.ts_ns, ledger.quantity(flow.symbol))
            return [cash_flow, *(ledger.apply_action(event) if event is not None else [])]
        # An action or rate that the tables lack is booked by its amounts alone.
        charge = Charge(
            day=0, kind=flow.kind, symbol=flow.symbol, amount=flow.amount, cause_id=name, accrued=flow.accrued
        )
        return [ledger.book_charge(flow.ts_ns, charge)]

    def _dividend_per_unit(self, ts_ns: int, dividend: CorporateAction) -> Decimal:
        """Return the dividend per unit in the currency in which the symbol trades."""
        assert dividend.amount is not None, f"{dividend.action_id}: a booked dividend has an amount"
        amount = multiply(dividend.amount, self._rate(dividend.currency, ts_ns))
        return divide(amount, self._ledger.unit_value(dividend.symbol))

    def _rate(self, currency: str, ts_ns: int) -> Decimal:
        """Return the value of one unit of `currency` in account currency, from the recorded rates up to `ts_ns`."""
        rates = [rate for rate in self._rates.values() if rate.base == currency and rate.ts_ns <= ts_ns]
        return max(rates, key=lambda each: each.ts_ns).rate if rates else ONE

    def _close_tables(self) -> None:
        """Mark the clock of the tables as reached. Later bookings are compared with the snapshots only."""
        if not self._closed:
            self._closed, self.cash = True, self._cash_totals()
            positions = {one.symbol: (one.quantity, one.cost) for one in self._ledger.positions()}
            totals = self.cash | {"accrued_dividends": self._ledger.accrued}
            self._naive_difference = first_difference(self.naive, positions, totals)

    def _compare_snapshot(self, snapshot: SnapshotLedger) -> None:
        positions = sum(1 for _ in self._ledger.positions())
        self.snapshot_checks.append(
            Comparison(f"snapshot {snapshot.service}", positions, snapshot.first_difference(self._ledger))
        )

    def _cash_totals(self) -> dict[str, Any]:
        ledger = self._ledger
        return {"cash": ledger.cash, "realized_pnl": ledger.realized_pnl + ledger.income, "fees": ledger.fees}

    def checks(self) -> list[Comparison]:
        difference = self._naive_difference
        problem = difference and f"the ledger and a second, naive ledger differ: {difference}"
        second_ledger = Comparison("second_ledger", self.naive.bookings, problem)
        walks = [self._with_unchanged(kind, walk.check()) for kind, walk in self._walks.items()]
        return [Comparison("executions", self.executions, self._gap), *walks, second_ledger]

    def _with_unchanged(self, kind: type, check: Comparison) -> Comparison:
        if kind not in (Position, Lot) or check.difference is not None:
            return check
        return check._replace(difference=self._unchanged.first_difference(self._db, kind))


class _TableWalk:
    """Compares rebuilt and stored records of one table, both in `seq` order.

    A table of facts must hold every rebuilt record. A `latest` table must hold the last record of each key:
    records that may still be replaced are pending, at most one per open lot or symbol.
    """

    def __init__(self, name: str, key: str, stored: Iterator[Any], *, latest: bool) -> None:
        self._name, self._key, self._stored, self._latest = name, key, stored, latest
        self._next = next(stored, None)
        self._pending: dict[str, Any] = {}
        self._agreeing = 0
        self._difference: str | None = None

    def expect(self, record: Any) -> None:
        while self._next is not None and self._next.seq < record.seq:
            self._report_extra(self._next)
        key = getattr(record, self._key)
        self._pending.pop(key, None)
        if self._next is not None and self._next.seq == record.seq:
            self._compare(record, self._next)
            self._next = next(self._stored, None)
        elif self._latest and not (type(record) is Lot and not record.quantity):
            self._pending[key] = record
        else:
            self._report_missing(record)

    def check(self) -> Comparison:
        for record in self._pending.values():
            self._report_missing(record)
        while self._next is not None:
            self._report_extra(self._next)
        return Comparison(self._name, self._agreeing, self._difference)

    def _report_extra(self, stored: Any) -> None:
        self._set_difference(f"{self._name} {getattr(stored, self._key)}: in PostgreSQL, but not in the rebuilt books")
        self._next = next(self._stored, None)

    def _report_missing(self, record: Any) -> None:
        self._set_difference(
            f"{self._name} {getattr(record, self._key)}: missing in PostgreSQL, expected {record} from the executions"
        )

    def _compare(self, rebuilt: Any, stored: Any) -> None:
        for field in rebuilt._fields:
            expected, actual = getattr(rebuilt, field), getattr(stored, field)
            if expected != actual and not (field == "strategy" and type(rebuilt) is LotMatch):
                # The ledger alone does not know the strategies of orders: `lot_strategies.py` compares them.
                where = f"{self._name} {getattr(rebuilt, self._key)}"
                self._set_difference(
                    f"{where}: {field} is {actual} in PostgreSQL, expected {expected} from the executions"
                )
                return
        self._agreeing += 1

    def _set_difference(self, difference: str) -> None:
        if self._difference is None:
            self._difference = difference


def _check_cash(rebuilt: dict[str, Any], valuation: Valuation | None, executions: int) -> Comparison:
    """Compare cash, realized P&L and fees of the last valuation, and check that its parts add up."""
    if valuation is None:
        return Comparison("cash", 0, f"no valuation after {executions} executions" if executions else None)
    expected = rebuilt | {"equity": valuation.cash + valuation.accrued_dividends + valuation.net_exposure}
    for field, value in expected.items():
        stored = getattr(valuation, field)
        if stored != value:
            where = f"valuation {valuation.seq}"
            return Comparison(
                "cash", 0, f"{where}: {field} is {stored} in PostgreSQL, expected {value} from the executions"
            )
    return Comparison("cash", 1, None)
