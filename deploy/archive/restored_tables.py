"""Load archived months of a table back into the database.

The rows of a table before a time are archived (`sinks/archived_partitions.py`), so a restore loads the months from one
on up to the newest archived one, and begins with the newest. Each month is one transaction: its rows, its partition and
its removal from the list. If a run is killed, no row is lost or loaded twice, and the next run continues.

The files stay in the archive. A comment on the partition states until when `archive create` leaves it in the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2
from psycopg2 import sql
from psycopg2.extras import execute_values

from deploy.errors import DeployError
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean
from sinks.archived_partitions import list_archived, remove_archived
from sinks.database import libpq_url
from sinks.partitions import attach, partition_named, read_partitions, retain_until
from sinks.record_tables import MONTHLY_TABLES, fields_of

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

    from deploy.supervisor.process_spec import ProgressCallback
    from sinks.archive.table_archive import ArchivedPartition, TableArchive

_ROWS_AT_ONCE = 5_000


class RestoredPartition(NamedTuple):
    """A partition whose rows are in the database again."""

    table: str
    partition: str
    rows: int


def restore_tables(
    database_url: str,
    archive: TableArchive,
    tables: Sequence[str],
    first_day: str | None,
    *,
    retain_until_ns: int,
    report: ProgressCallback,
) -> list[RestoredPartition]:
    """Load the archived months of these tables, from that of `first_day` (UTC, such as 2024-01-15; None: all) on.

    Raises BadInput for a table without archived rows, DeployError, and Unavailable if a file is damaged: that month and
    the earlier ones are then not loaded.
    """
    from_ns = None
    if first_day is not None:
        from_ns = int(datetime.fromisoformat(first_day).replace(tzinfo=UTC).timestamp()) * 10**9
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5, application_name="restore")) as db:
            planned = [one for table in tables for one in _plan(db, table, from_ns)]
            return [_restore(db, archive, name, files, retain_until_ns, report) for name, files in planned]
    except psycopg2.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise DeployError(f"cannot load the archived rows: {reason}; run the command again to continue") from error


def _plan(db: Connection, table: str, from_ns: int | None) -> list[tuple[str, list[ArchivedPartition]]]:
    """Return the partitions to load with their files, newest first."""
    if table not in MONTHLY_TABLES:
        raise BadInput(f"--table must be one of {', '.join(MONTHLY_TABLES)}, found {table!r}{_hint(table)}")
    with db, db.cursor() as cursor:
        listed = list_archived(cursor, table)
    if not listed:
        raise BadInput(f"no row of {table} is archived")
    wanted = [one for one in listed if from_ns is None or one.end_ns > from_ns]
    if not wanted:
        newest = datetime.fromtimestamp(listed[-1].end_ns / 1e9, UTC)
        raise BadInput(f"the archived rows of {table} end before {newest:%Y-%m-%d}; --from must be an earlier day")
    by_name = groupby(sorted(wanted, key=lambda one: (-one.end_ns, one.file)), key=_partition_name)
    return [(name, list(files)) for name, files in by_name]


def _hint(table: str) -> str:
    return did_you_mean(table, list(MONTHLY_TABLES))


def _partition_name(file: ArchivedPartition) -> str:
    """Return the partition of a file. Rows that were written after their month was archived have a file of their own.

    >>> from sinks.archive.table_archive import ArchivedPartition
    >>> _partition_name(ArchivedPartition("bars/bars_2026_01.2.parquet", "bars", "", 0, 0, 0, 0, 0, 0))
    'bars_2026_01'
    """
    return file.file.rpartition("/")[2].split(".")[0]


def _restore(
    db: Connection,
    archive: TableArchive,
    name: str,
    files: list[ArchivedPartition],
    retain_until_ns: int,
    report: ProgressCallback,
) -> RestoredPartition:
    """Load the files of one partition in one transaction."""
    partition, rows = partition_named(name), sum(file.rows for file in files)
    report(f"loading {rows:,} rows of {name}")
    with db, db.cursor() as cursor:
        exists = any(one.name == name for one in read_partitions(cursor, partition.table))
        names = {"partition": sql.Identifier(name), "table": sql.Identifier(partition.table)}
        if not exists:
            cursor.execute(sql.SQL("CREATE TABLE {partition} (LIKE {table} INCLUDING ALL)").format(**names))
        for file in files:
            inserted = sum(_insert(cursor, name, partition.table, group) for group in _groups(archive, file))
            if inserted != file.rows and not exists and len(files) == 1:
                raise DeployError(f"{inserted} rows of {file.file} were loaded, expected {file.rows}")
        if not exists:
            attach(cursor, partition)
        for file in files:
            remove_archived(cursor, file)
        retain_until(cursor, name, retain_until_ns)
    return RestoredPartition(partition.table, name, rows)


def _groups(archive: TableArchive, file: ArchivedPartition) -> Iterator[list[tuple[Any, ...]]]:
    rows = archive.rows(file)
    while group := list(islice(rows, _ROWS_AT_ONCE)):
        yield group


def _insert(cursor: Cursor, name: str, table: str, rows: list[tuple[Any, ...]]) -> int:
    """Insert rows that the partition does not have, and return their number."""
    columns = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields_of(MONTHLY_TABLES[table]))
    query = sql.SQL("INSERT INTO {} ({}) VALUES %s ON CONFLICT DO NOTHING").format(sql.Identifier(name), columns)
    execute_values(cursor, query.as_string(cursor), rows, page_size=_ROWS_AT_ONCE)
    return cursor.rowcount
