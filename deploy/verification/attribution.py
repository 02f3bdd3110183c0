"""The P&L by strategy against the ledger that is rebuilt from executions and money, and the strategies' weights.

The rows of one attribution must sum to what the rebuilt ledger says at their tick, to the last of the nine places that
both have: each amount is rounded once and what rounding leaves goes to one of the parts, so that no tolerance is due.
Marks are the last bars up to the tick, as they stand in the database. The newest attributions are compared and as many
spread over the time before, so that the check costs the same whatever the history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from math import fsum
from typing import TYPE_CHECKING, NamedTuple

from deploy.verification.marks import RebuiltMarks
from deploy.verification.verdict import Check
from operators.feedback.attribution import UNATTRIBUTED
from operators.ledger import Ledger
from operators.money import ZERO
from schemas.records import Attribution, StrategyWeights
from sinks.queries import last_of, rows_of

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class, whatever its name says)

NEWEST, EARLIER = 50, 50
"""So many attributions are compared: the newest, and others evenly over the time before them."""
WEIGHTS = 100
ROUNDED = 0.5e-6
"""A weight is a float of six places: each may be off by this much, and so the sum by as many times."""
_SPREAD = """
SELECT DISTINCT (SELECT max(a.ts_ns) FROM attribution a WHERE a.ts_ns <= g.at)
FROM unnest(%s::bigint[]) AS g(at) ORDER BY 1
"""


class Sums(NamedTuple):
    """What the rows of one attribution come to, named as in the ledger; `wrong` says what is wrong with the rows."""

    ts_ns: int
    rows: int
    realized_pnl: Decimal
    unrealized_pnl: Decimal
    fees: Decimal
    unattributed: bool
    wrong: str | None


class AttributionWalk:
    """Attributions up to a clock, each compared when the rebuilt ledger has passed its tick."""

    def __init__(self, db: Connection, upto_ns: int | None) -> None:
        """Read what is to be compared; None is all clocks. Raises psycopg2.Error."""
        self._waiting = [_sums(ts_ns, rows_of(db, Attribution, ts_ns)) for ts_ns in _chosen(db, upto_ns)]
        self._waiting.reverse()
        self._rows = self._unattributed = 0
        self._difference: str | None = None

    def pass_by(self, ledger: Ledger, marks: RebuiltMarks, before_ns: int | None) -> None:
        """Compare those of ticks before `before_ns` (None is all) with the ledger, which has booked all up to it."""
        while self._waiting and (before_ns is None or self._waiting[-1].ts_ns < before_ns):
            self._compare(self._waiting.pop(), ledger, marks)

    def check(self) -> Check:
        note = f"{self._unattributed} hold P&L of no strategy" if self._unattributed else ""
        return Check("attribution", self._rows, self._difference, note)

    def _compare(self, found: Sums, ledger: Ledger, marks: RebuiltMarks) -> None:
        wrong = found.wrong
        rebuilt = {
            "realized_pnl": ledger.realized_pnl + ledger.income,
            "unrealized_pnl": marks.worth(ledger, found.ts_ns) - ledger.cost,
            "fees": ledger.fees,
        }
        for field, value in rebuilt.items():
            told = getattr(found, field)
            if wrong is None and told != value:
                name = "realized_pnl and cash_flows" if field == "realized_pnl" else field
                wrong = f"{name} of the strategies sum to {told} in Postgres, the ledger gives {value}"
        self._unattributed += found.unattributed
        if wrong is None:
            self._rows += found.rows
        elif self._difference is None:
            self._difference = f"attribution at {found.ts_ns}: {wrong}"


def check_weights(db: Connection, strategies: Sequence[str]) -> Check:
    """The last weights: each in [0, 1], together 1, and of strategies that run (`strategies`) or ever gave a signal.

    Raises psycopg2.Error.
    """
    newest = last_of(db, StrategyWeights)
    if newest is None:
        return Check("weights", 0, None)
    agreeing, known, difference = 0, set(strategies), None
    for one in rows_of(db, StrategyWeights, newest.seq - WEIGHTS + 1, newest.seq, column="seq"):
        wrong = _weights_wrong(one, lambda name: name in known or _gave_signals(db, name))
        known.update(one.weights if wrong is None else ())
        agreeing += wrong is None
        if difference is None and wrong is not None:
            difference = f"weights {one.seq}: {wrong}"
    return Check("weights", agreeing, difference)


def _weights_wrong(one: StrategyWeights, is_known: Callable[[str], bool]) -> str | None:
    for name, weight in one.weights.items():
        if not 0.0 <= weight <= 1.0:
            return f"the weight of {name} must be in [0, 1], found {weight}"
        if not is_known(name):
            return f"{name} is no strategy of the settings and never gave a signal"
    total = fsum(one.weights.values())
    if abs(total - 1.0) > ROUNDED * len(one.weights) + 1e-12:
        return f"the weights sum to {total}, not to 1"
    return None


def _gave_signals(db: Connection, strategy: str) -> bool:
    with db.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM signals WHERE strategy = %s)", (strategy,))
        return bool((cursor.fetchone() or (False,))[0])


def _chosen(db: Connection, upto_ns: int | None) -> list[int]:
    """The ticks to compare, oldest first."""
    upto = 2**63 - 1 if upto_ns is None else upto_ns
    with db.cursor() as cursor:
        # Not by `seq`: what stands in a row that was changed is not to be trusted.
        cursor.execute(
            "SELECT DISTINCT ts_ns FROM attribution WHERE ts_ns <= %s ORDER BY ts_ns DESC LIMIT %s", (upto, NEWEST)
        )
        newest = sorted(ts_ns for (ts_ns,) in cursor.fetchall())
        if len(newest) < NEWEST:
            return newest
        cursor.execute("SELECT min(ts_ns) FROM attribution")
        (first,) = cursor.fetchone() or (newest[0],)
        moments = [first + (newest[0] - 1 - first) * number // EARLIER for number in range(EARLIER)]
        cursor.execute(_SPREAD, ([at for at in moments if at < newest[0]],))
        return [*(ts_ns for (ts_ns,) in cursor.fetchall()), *newest]


def _sums(ts_ns: int, rows: Sequence[Attribution]) -> Sums:
    wrong = None
    for before, row in pairwise(rows):
        if wrong is None and row.seq != before.seq + 1:
            wrong = f"the row of seq {before.seq + 1} is missing"
        elif wrong is None and row.strategy <= before.strategy:
            wrong = f"{row.strategy} comes behind {before.strategy}: there is one row a strategy, by name"
    return Sums(
        ts_ns,
        len(rows),
        sum((row.realized_pnl + row.cash_flows for row in rows), ZERO),
        sum((row.unrealized_pnl for row in rows), ZERO),
        sum((row.fees for row in rows), ZERO),
        any(row.strategy == UNATTRIBUTED and (row.realized_pnl or row.unrealized_pnl or row.fees) for row in rows),
        wrong,
    )
