"""Check the P&L by strategy against the ledger rebuilt from executions and cash flows, and check the weights.

The rows of one attribution must sum to the rebuilt ledger at their time slice, exactly to nine decimal places: each
amount is rounded once and one part receives the remainder, so no tolerance is needed. Marks are the last bars in the
database up to the time slice. The check compares the newest attributions and as many spread over the time before, so
its cost does not depend on the length of the history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from math import fsum
from typing import TYPE_CHECKING, NamedTuple

from deploy.verification.marks import RebuiltMarks
from deploy.verification.verdict import Comparison
from operators.feedback.trade_allocation import UNATTRIBUTED
from operators.ledger import Ledger
from operators.money import ZERO
from schemas.records import Attribution, StrategyWeights
from sinks.queries import last_record, records_between

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

NEWEST_COUNT, EARLIER_COUNT = 50, 50
"""Number of attributions to compare: the newest, and others spread evenly over the time before them."""
WEIGHTS_MAX = 100
ROUNDING_MAX = 0.5e-6
"""Rounding error of one weight, a float with six decimal places. The errors add up in a sum."""
_SPREAD = """
SELECT DISTINCT (SELECT max(a.ts_ns) FROM attribution a WHERE a.ts_ns <= g.at)
FROM unnest(%s::bigint[]) AS g(at) ORDER BY 1
"""


class AttributionSums(NamedTuple):
    """Sums of the rows of one attribution, named as in the ledger. `problem` describes invalid rows, or is None."""

    ts_ns: int
    rows: int
    realized_pnl: Decimal
    unrealized_pnl: Decimal
    fees: Decimal
    unattributed: bool
    problem: str | None


class AttributionWalk:
    """Attributions up to a clock. Each is compared when the rebuilt ledger has passed its time slice."""

    def __init__(self, db: Connection, upto_ns: int | None, after_ns: int = -1) -> None:
        """Read the attributions after `after_ns` up to `upto_ns`, None for all. Raises psycopg2.Error."""
        self._pending = [
            _sums(ts_ns, records_between(db, Attribution, ts_ns)) for ts_ns in _selected_clocks(db, upto_ns, after_ns)
        ]
        self._pending.reverse()
        self._rows = self._unattributed = 0
        self._difference: str | None = None

    def compare_until(self, ledger: Ledger, marks: RebuiltMarks, before_ns: int | None) -> None:
        """Compare the attributions before `before_ns` (None for all) with the ledger, which has booked all up to it."""
        while self._pending and (before_ns is None or self._pending[-1].ts_ns < before_ns):
            self._compare(self._pending.pop(), ledger, marks)

    def check(self) -> Comparison:
        note = f"{self._unattributed} with unattributed P&L" if self._unattributed else ""
        return Comparison("attribution", self._rows, self._difference, note)

    def _compare(self, sums: AttributionSums, ledger: Ledger, marks: RebuiltMarks) -> None:
        problem = sums.problem
        rebuilt = {
            "realized_pnl": ledger.realized_pnl + ledger.income,
            "unrealized_pnl": marks.market_value(ledger, sums.ts_ns) - ledger.cost,
            "fees": ledger.fees,
        }
        for field, value in rebuilt.items():
            reported = getattr(sums, field)
            if problem is None and reported != value:
                name = "realized_pnl and cash_flows" if field == "realized_pnl" else field
                problem = f"{name} of the strategies sum to {reported} in PostgreSQL, expected {value} from the ledger"
        self._unattributed += sums.unattributed
        if problem is None:
            self._rows += sums.rows
        elif self._difference is None:
            self._difference = f"attribution at {sums.ts_ns}: {problem}"


def check_weights(db: Connection, strategies: Sequence[str]) -> Comparison:
    """Check that the last weights are in [0, 1], sum to 1, and belong to configured strategies or ones with signals.

    `strategies` are the names of the configured ones. Raises psycopg2.Error.
    """
    newest = last_record(db, StrategyWeights)
    if newest is None:
        return Comparison("weights", 0, None)
    agreeing, accepted_strategies, difference = 0, set(strategies), None
    for record in records_between(db, StrategyWeights, newest.seq - WEIGHTS_MAX + 1, newest.seq, column="seq"):
        problem = _weights_problem(record, lambda name: name in accepted_strategies or _has_signals(db, name))
        accepted_strategies.update(record.weights if problem is None else ())
        agreeing += problem is None
        if difference is None and problem is not None:
            difference = f"weights {record.seq}: {problem}"
    return Comparison("weights", agreeing, difference)


def _weights_problem(record: StrategyWeights, is_accepted: Callable[[str], bool]) -> str | None:
    for name, weight in record.weights.items():
        if not 0.0 <= weight <= 1.0:
            return f"the weight of {name} must be in [0, 1], found {weight}"
        if not is_accepted(name):
            return f"{name} is not a configured strategy and has no signals"
    total = fsum(record.weights.values())
    if abs(total - 1.0) > ROUNDING_MAX * len(record.weights) + 1e-12:
        return f"the weights sum to {total}, expected 1"
    return None


def _has_signals(db: Connection, strategy: str) -> bool:
    with db.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM signals WHERE strategy = %s)", (strategy,))
        return bool((cursor.fetchone() or (False,))[0])


def _selected_clocks(db: Connection, upto_ns: int | None, after_ns: int) -> list[int]:
    """Return the clocks of the attributions to compare, oldest first."""
    limit_ns = 2**63 - 1 if upto_ns is None else upto_ns
    with db.cursor() as cursor:
        # Ordered by time and not by `seq`, because `seq` of a tampered row is not reliable.
        cursor.execute(
            "SELECT DISTINCT ts_ns FROM attribution WHERE ts_ns > %s AND ts_ns <= %s ORDER BY ts_ns DESC LIMIT %s",
            (after_ns, limit_ns, NEWEST_COUNT),
        )
        newest = sorted(ts_ns for (ts_ns,) in cursor.fetchall())
        if len(newest) < NEWEST_COUNT:
            return newest
        cursor.execute("SELECT min(ts_ns) FROM attribution WHERE ts_ns > %s", (after_ns,))
        (first,) = cursor.fetchone() or (newest[0],)
        times_ns = [first + (newest[0] - 1 - first) * number // EARLIER_COUNT for number in range(EARLIER_COUNT)]
        cursor.execute(_SPREAD, ([at for at in times_ns if at < newest[0]],))
        return [*(ts_ns for (ts_ns,) in cursor.fetchall()), *newest]


def _sums(ts_ns: int, rows: Sequence[Attribution]) -> AttributionSums:
    problem = None
    for previous, row in pairwise(rows):
        if problem is None and row.seq != previous.seq + 1:
            problem = f"the row of seq {previous.seq + 1} is missing"
        elif problem is None and row.strategy <= previous.strategy:
            problem = f"{row.strategy} follows {previous.strategy}; expected one row per strategy, sorted by name"
    return AttributionSums(
        ts_ns=ts_ns,
        rows=len(rows),
        realized_pnl=sum((row.realized_pnl + row.cash_flows for row in rows), ZERO),
        unrealized_pnl=sum((row.unrealized_pnl for row in rows), ZERO),
        fees=sum((row.fees for row in rows), ZERO),
        unattributed=any(
            row.strategy == UNATTRIBUTED and (row.realized_pnl or row.unrealized_pnl or row.fees) for row in rows
        ),
        problem=problem,
    )
