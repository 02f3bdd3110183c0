"""The ledger's positions against the broker's own books, as the gateway's edge last read them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from deploy.verification.ledger_tables import moment
from deploy.verification.verdict import Check
from operators.money import ZERO, plain
from schemas.records import BrokerAccount
from sinks.queries import last_of

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class, whatever its name says)

SIMULATED = Check("broker", 0, None, "no broker: simulated venue")
WINDOW_NS = 10_000_000_000
"""A broker's books and its reports come by different ways: what we held at any time so near to them may be in them."""
_TRADES_SQL = """
    SELECT symbol, CASE side WHEN 'BUY' THEN quantity ELSE -quantity END, ts_ns FROM executions
    WHERE exec_type = 'TRADE' AND ts_ns >= %s ORDER BY seq DESC
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
    """What each symbol's position was around that time: what it is now, and trade by trade back from there."""
    with db.cursor() as cursor:
        cursor.execute("SELECT symbol, quantity FROM positions")
        now: dict[str, Decimal] = dict(cursor.fetchall())
        found = {symbol: {quantity} for symbol, quantity in now.items()}
        cursor.execute(_TRADES_SQL, (at_ns - WINDOW_NS,))
        for symbol, signed, ts_ns in cursor.fetchall():
            now[symbol] = now.get(symbol, ZERO) - signed
            if ts_ns > at_ns + WINDOW_NS:
                found[symbol] = {now[symbol]}
            else:
                found.setdefault(symbol, set()).add(now[symbol])
    return found
