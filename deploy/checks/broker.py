"""The ledger's positions against the broker's own books, as the gateway's edge last read them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from deploy.checks.books import moment
from deploy.checks.verdict import Check
from operators.money import ZERO, plain
from schemas.records import BrokerAccount
from sinks.reading import last_of

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class, whatever its name says)

SIMULATED = Check("broker", 0, None, "no broker: simulated venue")
WINDOW_NS = 10_000_000_000
"""A broker's books and its reports come by different ways: what we held at any time so near to them may be in them."""
_HELD_SQL = """
    SELECT symbol, quantity FROM positions WHERE ts_ns BETWEEN %(from)s AND %(to)s
    UNION ALL
    (SELECT DISTINCT ON (symbol) symbol, quantity FROM positions WHERE ts_ns < %(from)s ORDER BY symbol, seq DESC)
"""


def check_broker(database_url: str, foreign: Mapping[str, Decimal]) -> Check:
    """`foreign`: what is on the account and not the platform's. Raises psycopg2.Error."""
    with closing(moment(database_url)) as db:
        account = last_of(db, BrokerAccount)
        if account is None:
            return Check("broker", 0, "the broker's books were never read")
        held = _held(db, account.ts_ns)
    symbols = sorted({*account.positions, *held, *foreign})
    for symbol in symbols:
        theirs = Decimal(account.positions.get(symbol, "0")) - foreign.get(symbol, ZERO)
        ours = held.get(symbol, {ZERO})
        if theirs not in ours:
            found = " or ".join(plain(quantity) for quantity in sorted(ours))
            at = datetime.fromtimestamp(account.ts_ns / 1e9, UTC)
            why = f"position of {symbol} is {plain(theirs)} at the broker at {at:%H:%M:%S} UTC, the ledger has {found}"
            return Check("broker", len(symbols), why)
    return Check("broker", len(symbols), None)


def _held(db: Connection, at_ns: int) -> dict[str, set[Decimal]]:
    """What each symbol's position was around that time."""
    with db.cursor() as cursor:
        cursor.execute(_HELD_SQL, {"from": at_ns - WINDOW_NS, "to": at_ns + WINDOW_NS})
        found: dict[str, set[Decimal]] = {}
        for symbol, quantity in cursor.fetchall():
            found.setdefault(symbol, set()).add(quantity)
        cursor.execute("SELECT symbol, min(ts_ns) FROM positions GROUP BY symbol")
        for symbol, first_ns in cursor.fetchall():
            if first_ns >= at_ns - WINDOW_NS:
                found.setdefault(symbol, set()).add(ZERO)
    return found
