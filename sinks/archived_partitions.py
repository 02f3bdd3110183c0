"""The list of the partitions that were exported to Parquet files and dropped.

A row stands in the list before its partition is detached. The rows of a table are therefore in the table, or in a file
of this list.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Connection, Table, Text, func, select

from sinks.archive.archived_bars import ArchivedBars
from sinks.archive.table_archive import ArchivedPartition, TableArchive
from sinks.tables import metadata

if TYPE_CHECKING:
    from psycopg2.extensions import connection as PsycopgConnection  # noqa: N812  (a class with a lower-case name)
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

archived_partitions = Table(
    "archived_partitions",
    metadata,
    Column("file", Text, primary_key=True),
    Column("table_name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("first_ns", BigInteger, nullable=False),
    Column("last_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("archived_ns", BigInteger, nullable=False),
)


_COLUMNS = ", ".join(f'"{name}"' for name in ArchivedPartition._fields)


def list_archived(cursor: Cursor, table: str | None = None) -> list[ArchivedPartition]:
    """Return the archived partitions of a table, or of all, oldest first."""
    query = f"SELECT {_COLUMNS} FROM archived_partitions WHERE %s IS NULL OR table_name = %s ORDER BY end_ns, file"  # noqa: S608
    cursor.execute(query, (table, table))
    return [ArchivedPartition(*row) for row in cursor.fetchall()]


def add_archived(cursor: Cursor, partition: ArchivedPartition) -> None:
    """Add a partition to the list. A file of the same name, which an earlier run has written, is replaced."""
    values = ", ".join(["%s"] * len(partition))
    cursor.execute("DELETE FROM archived_partitions WHERE file = %s", (partition.file,))
    cursor.execute(f"INSERT INTO archived_partitions ({_COLUMNS}) VALUES ({values})", partition)  # noqa: S608


def remove_archived(cursor: Cursor, partition: ArchivedPartition) -> None:
    cursor.execute("DELETE FROM archived_partitions WHERE file = %s", (partition.file,))


def archived_ends(cursor: Cursor) -> dict[str, int]:
    """Return the time (ns) before which the rows of each table with archived partitions are archived."""
    cursor.execute("SELECT table_name, max(end_ns) FROM archived_partitions GROUP BY 1")
    return {table: int(end_ns) for table, end_ns in cursor.fetchall()}


def archived_bars(db: PsycopgConnection, archive: TableArchive | None) -> ArchivedBars:
    """Return the archived bars. Without `archive`, reading one raises Unavailable."""
    with db.cursor() as cursor:
        return ArchivedBars(archive or TableArchive(Path()), list_archived(cursor, "bars"))


def restore_sentence(table: str, archived_ns: int) -> str:
    """Return a sentence for a reader who needs rows of a table from before `archived_ns`.

    >>> restore_sentence("bars", 1_711_929_600_000_000_000)
    'Rows of bars before 2024-04-01 are archived; `python cli.py archive restore --table bars` loads them back.'
    """
    day = datetime.fromtimestamp(archived_ns / 1e9, UTC)
    return (
        f"Rows of {table} before {day:%Y-%m-%d} are archived; `python cli.py archive restore --table {table}` loads "
        "them back."
    )


def archived_before(db: Connection, table: Table) -> int | None:
    """Return the time (ns) before which the rows of a table are archived; None if none is."""
    listed = archived_partitions.c
    end_ns: int | None = db.execute(select(func.max(listed.end_ns)).where(listed.table_name == table.name)).scalar()
    return end_ns
