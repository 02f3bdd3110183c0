"""A database with rows in several tables, for the tests of backups."""

from __future__ import annotations

from contextlib import closing

import psycopg2

from schemas.records import Record
from sinks.partitions import is_partition_name
from sinks.postgres import PostgresWriter
from tests.builders import bar, command, dead_letter, execution

RowsByTable = dict[str, list[str]]


def fill(url: str) -> str:
    """Write bars, an execution, a command, a dead letter, a user and a session. Returns the URL."""
    write_bars(url, 1, 500)
    awkward = command("cmd-1", arguments={"text": "tab\t, line\n, quote ' and \\. \\N"}, reason="Ünal \\! touch")
    records: list[Record] = [
        execution(1, 60, "AAPL", "0.123456789", "1.5", "0.000000001"),
        awkward,
        dead_letter("market-bars", 7, raw=bytes(range(256))),
    ]
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(records)
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute("INSERT INTO users VALUES ('Ünal ''x''', 'hash', 'admin', true, false, 1)")
        db.commit()
    return url


def write_bars(url: str, first: int, last: int) -> None:
    bars = [
        bar("AAPL", number, number * 60, 1 / 3, open=1.5, high=2.25, low=0.1, volume=1e9)
        for number in range(first, last)
    ]
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(bars)


def read_rows(url: str) -> RowsByTable:
    """Return all rows of all tables as text, those of partitions with their table."""
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows_by_table = {}
        for table in (name for (name,) in cursor.fetchall() if not is_partition_name(name)):
            cursor.execute(f"SELECT t::text FROM public.{table} t ORDER BY 1")  # noqa: S608 - names out of the catalog
            rows_by_table[table] = [text for (text,) in cursor.fetchall()]
    return rows_by_table


def schemas(url: str) -> list[str]:
    """Return the schemas with previous tables."""
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'before_restore_%'")
        return [name for (name,) in cursor.fetchall()]
