"""Check the positions of the ledger against those of the broker, as the gateway last received them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from deploy.verification.ledger_tables import snapshot_connection
from deploy.verification.verdict import Comparison
from operators.money import ZERO, plain
from schemas.records import BrokerAccount
from sinks.queries import last_record

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

SIMULATED = Comparison("broker", 0, None, "no broker: simulated venue")
WINDOW_NS = 10_000_000_000
"""Tolerance in time. A broker's positions and reports arrive separately, so a position within it is accepted."""
ANY_ORDER_MAX = 12
"""Trades of a symbol in the window that may be in any order: they give at most 4,096 positions."""
_TRADES_SQL = """
    SELECT symbol, CASE side WHEN 'BUY' THEN quantity ELSE -quantity END, filled_at_ns FROM executions
    WHERE exec_type = 'TRADE' AND filled_at_ns >= %s ORDER BY filled_at_ns DESC, seq DESC
"""


def check_broker(database_url: str, foreign: Mapping[str, Decimal]) -> Comparison:
    """Compare the positions. `foreign` maps a symbol to units on the account that are not the platform's.

    Raises psycopg2.Error.
    """
    with closing(snapshot_connection(database_url)) as db:
        account = last_record(db, BrokerAccount)
        if account is None:
            return Comparison("broker", 0, "no positions were received from the broker yet")
        own_by_symbol = _recent_quantities(db, account.ts_ns)
    symbols = sorted({*account.positions, *own_by_symbol, *foreign})
    for symbol in symbols:
        broker_quantity = Decimal(account.positions.get(symbol, "0")) - foreign.get(symbol, ZERO)
        own_quantities = own_by_symbol.get(symbol, {ZERO})
        if broker_quantity not in own_quantities:
            ledger_text = " or ".join(plain(quantity) for quantity in sorted(own_quantities))
            at = datetime.fromtimestamp(account.ts_ns / 1e9, UTC)
            difference = (
                f"position of {symbol} is {plain(broker_quantity)} at the broker at {at:%H:%M:%S} UTC, "
                f"the ledger has {ledger_text}"
            )
            return Comparison("broker", len(symbols), difference)
    return Comparison("broker", len(symbols), None)


def _recent_quantities(db: Connection, at_ns: int) -> dict[str, set[Decimal]]:
    """Return the positions that each symbol may have had at the broker around a time, computed back from the ledger's.

    The time of a trade is that of the broker. The time of its time slice is another one while the platform is behind.
    The broker's positions may include any of the trades in the window, because two trades can have the same time and
    the ledger books them in the order of their reports.
    """
    with db.cursor() as cursor:
        cursor.execute("SELECT symbol, quantity FROM positions")
        before: dict[str, Decimal] = dict(cursor.fetchall())
        in_window: dict[str, list[Decimal]] = {}
        cursor.execute(_TRADES_SQL, (at_ns - WINDOW_NS,))
        for symbol, signed, filled_at_ns in cursor.fetchall():
            before[symbol] = before.get(symbol, ZERO) - signed
            if filled_at_ns <= at_ns + WINDOW_NS:
                in_window.setdefault(symbol, []).append(signed)
    return {symbol: _possible_sums(quantity, in_window.get(symbol, [])) for symbol, quantity in before.items()}


def _possible_sums(start: Decimal, trades: list[Decimal]) -> set[Decimal]:
    """Return `start` plus each subset of the trades, which are newest first.

    Of more than ANY_ORDER_MAX trades, the oldest are in any order and the others follow in theirs.
    """
    oldest_first = trades[::-1]
    sums = {start}
    for signed in oldest_first[:ANY_ORDER_MAX]:
        sums |= {one + signed for one in sums}
    position = start + sum(oldest_first[:ANY_ORDER_MAX], ZERO)
    for signed in oldest_first[ANY_ORDER_MAX:]:
        position += signed
        sums.add(position)
    return sums
