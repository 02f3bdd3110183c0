"""The books rebuilt from executions and corporate actions, compared with positions, lots, matches and cash in Postgres
and with what the services keep in their recovery stores; and the P&L by strategy, which must sum to them.

While the platform runs, each of these stands at a clock of its own. The portfolio's tables are read at one moment and
stand at the clock of their last valuation; the executions are read after that, when all up to that clock are there,
and booked up to it; a recovery snapshot is compared when the rebuilt ledger passes its clock. Memory does not grow
with the history: tables and ledger are both in order of `seq` and walked side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from heapq import merge
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2

from deploy.verification.attribution import AttributionWalk
from deploy.verification.marks import RebuiltMarks
from deploy.verification.verdict import Check, Verdict
from operators.decision_hash import Decisions
from operators.ledger import Ledger
from operators.ledger.cash import Charge
from operators.ledger.events import event_of
from schemas.records import (
    EXCHANGE_RATE,
    CashFlow,
    CorporateAction,
    ExchangeRate,
    Execution,
    GatewayStatus,
    Lot,
    LotMatch,
    Order,
    Position,
    RiskFence,
    Valuation,
)
from sinks.database import libpq_url
from sinks.queries import last_of, records_of

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class, whatever its name says)


class Kept(NamedTuple):
    """What a service's recovery store says of the books at `clock_ns`. `differs` is given the ledger as of that clock
    and returns the first difference as a sentence, or None.
    """

    service: str
    clock_ns: int
    differs: Callable[[Ledger], str | None]


def moment(database_url: str) -> Connection:
    """A connection that sees the database as it is at its first query. Raises psycopg2.Error."""
    connection = psycopg2.connect(libpq_url(database_url), connect_timeout=5, application_name="verify")
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    return connection


def compare_books(database_url: str, ledger: Ledger, kept: Sequence[Kept] = ()) -> Verdict:
    """Book the stored executions into `ledger`, which is empty, and compare. Raises psycopg2.Error."""
    with closing(moment(database_url)) as db:
        valuation = last_of(db, Valuation)
        upto_ns = None if valuation is None else valuation.ts_ns
        with closing(moment(database_url)) as later:
            books = _Books(db, ledger, AttributionWalk(db, upto_ns), RebuiltMarks(later))
            books.book(later, upto_ns, sorted(kept, key=lambda one: one.clock_ns))
            for decided in chain(records_of(later, Order), records_of(later, RiskFence)):
                books.decisions.add(decided)
        if valuation is not None:
            books.decisions.add(valuation)
        money = _money(books.cash, valuation, books.executions)
        checks = [*books.checks(), money, books.attribution.check(), *books.kept_checks]
    return Verdict(checks, books.decisions.hexdigest())


class _Books:
    def __init__(self, db: Connection, ledger: Ledger, attribution: AttributionWalk, marks: RebuiltMarks) -> None:
        self._ledger, self._marks = ledger, marks
        self.attribution = attribution
        self.decisions = Decisions()
        self.executions = 0
        self._seq = 0
        self._gap: str | None = None
        self._closed = False
        self._events: dict[str, CorporateAction] = {}
        self._rates: dict[str, ExchangeRate] = {}
        self._walks: dict[type, _Walk] = {
            Position: _Walk("positions", "symbol", self._counted(records_of(db, Position)), latest=True),
            Lot: _Walk("lots", "lot_id", self._counted(records_of(db, Lot)), latest=True),
            LotMatch: _Walk("lot_matches", "match_id", self._counted(records_of(db, LotMatch)), latest=False),
            CashFlow: _Walk("cash_flows", "cash_flow_id", records_of(db, CashFlow), latest=False),
        }
        self.kept_checks: list[Check] = []
        self.cash: dict[str, Any] = self._money()

    def _counted(self, stored: Iterable[Any]) -> Iterator[Any]:
        for record in stored:
            self.decisions.add(record)
            yield record

    def book(self, db: Connection, upto_ns: int | None, kept: Sequence[Kept]) -> None:
        """Executions up to a clock (None is all) against the tables, and on to the clock of the last of `kept`."""
        waiting = list(kept)
        self._events = {record.action_id: record for record in records_of(db, CorporateAction)}
        self._rates = {record.rate_id: record for record in records_of(db, ExchangeRate)}
        # The first two count in one topic's `seq`, and only executions are booked. What came without a trade came
        # ahead of the trades of its tick.
        reports: list[Iterator[Any]] = [records_of(db, kind) for kind in (Execution, GatewayStatus, CashFlow)]
        for execution in merge(*reports, key=lambda record: (record.ts_ns, type(record) is not CashFlow, record.seq)):
            self.attribution.pass_by(self._ledger, self._marks, execution.ts_ns)
            while waiting and waiting[0].clock_ns < execution.ts_ns:
                self._compare_kept(waiting.pop(0))
            if upto_ns is not None and execution.ts_ns > upto_ns:
                self._close()
                if not waiting:
                    break
            self._apply(execution)
        self.attribution.pass_by(self._ledger, self._marks, None)
        self._close()
        for one in waiting:
            self._compare_kept(one)

    def _apply(self, execution: Execution | GatewayStatus | CashFlow) -> None:
        if isinstance(execution, CashFlow):
            self._expect(self._entitled(execution))
            return
        if not self._closed and execution.seq != self._seq + 1 and self._gap is None:
            self._gap = f"executions: seq {self._seq + 1} is missing, the next one is {execution.seq}"
        self._seq = execution.seq
        if not isinstance(execution, Execution):
            return
        if not self._closed:
            self.executions += 1
            self.decisions.add(execution)
        self._marks.traded(execution)
        self._expect(self._ledger.apply(execution))

    def _expect(self, rebuilt: Iterable[Any]) -> None:
        for record in rebuilt:
            if not self._closed:
                self._walks[type(record)].expect(record)

    def _entitled(self, flow: CashFlow) -> list[Any]:
        """Book what came without a trade: a corporate action or a rate that took effect, or money."""
        ledger, name = self._ledger, flow.cause_id
        if flow.kind == EXCHANGE_RATE and name in self._rates:
            noted = ledger.note(flow.ts_ns, flow.kind, "", name)
            ledger.set_rate(self._rates[name].base, self._rates[name].rate)
            return [noted]
        if name in self._events and flow.kind == self._events[name].kind:
            noted = ledger.note(flow.ts_ns, flow.kind, flow.symbol, name)
            self._marks.acted(flow.ts_ns, self._events[name])
            event = event_of(self._events[name], flow.ts_ns, ledger.quantity(flow.symbol))
            return [noted, *(ledger.act(event) if event is not None else [])]
        return [ledger.pay(flow.ts_ns, Charge(0, flow.kind, flow.symbol, flow.amount, name))]

    def _close(self) -> None:
        """The clock of the tables is reached: what is booked from here on is for the snapshots only."""
        if not self._closed:
            self._closed, self.cash = True, self._money()

    def _compare_kept(self, one: Kept) -> None:
        holdings = sum(1 for _ in self._ledger.holdings())
        self.kept_checks.append(Check(f"snapshot {one.service}", holdings, one.differs(self._ledger)))

    def _money(self) -> dict[str, Any]:
        ledger = self._ledger
        return {"cash": ledger.cash, "realized_pnl": ledger.realized_pnl + ledger.income, "fees": ledger.fees}

    def checks(self) -> list[Check]:
        return [Check("executions", self.executions, self._gap), *(walk.check() for walk in self._walks.values())]


class _Walk:
    """Rebuilt records and stored ones of one table, both in order of `seq`.

    Of a table of facts every rebuilt record must be there; of a `latest` table the last of each key: those that may
    yet be replaced wait, which are no more than there are open lots or symbols.
    """

    def __init__(self, name: str, key: str, stored: Iterator[Any], *, latest: bool) -> None:
        self._name, self._key, self._stored, self._latest = name, key, stored, latest
        self._next = next(stored, None)
        self._waiting: dict[str, Any] = {}
        self._agreeing = 0
        self._difference: str | None = None

    def expect(self, record: Any) -> None:
        while self._next is not None and self._next.seq < record.seq:
            self._extra(self._next)
        key = getattr(record, self._key)
        self._waiting.pop(key, None)
        if self._next is not None and self._next.seq == record.seq:
            self._same(record, self._next)
            self._next = next(self._stored, None)
        elif self._latest and not (type(record) is Lot and not record.quantity):
            self._waiting[key] = record
        else:
            self._missing(record)

    def check(self) -> Check:
        for record in self._waiting.values():
            self._missing(record)
        while self._next is not None:
            self._extra(self._next)
        return Check(self._name, self._agreeing, self._difference)

    def _extra(self, stored: Any) -> None:
        self._differ(f"{self._name} {getattr(stored, self._key)}: in Postgres, but no execution gives it")
        self._next = next(self._stored, None)

    def _missing(self, record: Any) -> None:
        self._differ(f"{self._name} {getattr(record, self._key)}: missing in Postgres, the executions give {record}")

    def _same(self, rebuilt: Any, stored: Any) -> None:
        for field in rebuilt._fields:
            expected, found = getattr(rebuilt, field), getattr(stored, field)
            if expected != found:
                where = f"{self._name} {getattr(rebuilt, self._key)}"
                self._differ(f"{where}: {field} is {found} in Postgres, the executions give {expected}")
                return
        self._agreeing += 1

    def _differ(self, sentence: str) -> None:
        if self._difference is None:
            self._difference = sentence


def _money(rebuilt: dict[str, Any], valuation: Valuation | None, executions: int) -> Check:
    """Cash, realized P&L and fees of the last valuation, and that its parts add up."""
    if valuation is None:
        return Check("cash", 0, f"there is no valuation after {executions} executions" if executions else None)
    expected = rebuilt | {"equity": valuation.cash + valuation.net_exposure}
    for field, value in expected.items():
        found = getattr(valuation, field)
        if found != value:
            where = f"valuation {valuation.seq}"
            return Check("cash", 0, f"{where}: {field} is {found} in Postgres, the executions give {value}")
    return Check("cash", 1, None)
