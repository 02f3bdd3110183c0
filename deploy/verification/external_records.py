"""Check that records from outside, such as halts, headlines, filings or your own data, are in their tables.

These records have no `seq`, so a gap in their numbers cannot show a lost row. Audited records are left out:
the audit chain covers them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from psycopg2 import sql

from deploy.verification.verdict import Comparison
from schemas.records import EXTERNAL_RECORDS, TOPIC_OF, DataRow, TradingSession, TradingStatus
from sinks.audit import AUDITED_TYPE_SET
from sinks.record_tables import RECORD_TABLES

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

COMPARED_TYPES: frozenset[type] = frozenset(RECORD_TABLES) & EXTERNAL_RECORDS - AUDITED_TYPE_SET
_ADDED_LATER = frozenset({TradingStatus, TradingSession, DataRow})
"""Types whose records were in the topic before they had a table."""


def check_external_table(db: Connection, kind: type, ids: Collection[str]) -> Comparison:
    """Check that the table has a row for each id, in the order of the topic. Raises psycopg2.Error."""
    table, (key,), _ = RECORD_TABLES[kind]
    query = sql.SQL(
        "SELECT w.id, t.{key} IS NOT NULL FROM unnest(%s::text[]) WITH ORDINALITY AS w(id, n) "
        "LEFT JOIN {table} t ON t.{key} = w.id ORDER BY w.n"
    ).format(table=sql.Identifier(table), key=sql.Identifier(key))
    with db.cursor() as cursor:
        cursor.execute(query, (list(ids),))
        stored = cursor.fetchall()
    earlier = 0
    if kind in _ADDED_LATER:
        earlier = next((number for number, (_, is_stored) in enumerate(stored) if is_stored), len(stored))
    missing = next((record_id for record_id, is_stored in stored[earlier:] if not is_stored), None)
    repair = f"`python cli.py rebuild {table} --table`"
    difference = None
    if missing is not None:
        difference = f"{table}: {missing} of topic {TOPIC_OF[kind]} is missing; {repair} writes the table again"
    note = f"{earlier} from before the table existed; {repair} adds them" if earlier else ""
    return Comparison(f"table {table}", len(stored) - earlier, difference, note)
