"""Export old partitions of the database tables to Parquet files, then drop them.

A partition is exported when its newest possible row is older than `database.postgres.retention`, counted back from the
newest row of its table. One that `archive restore` has loaded stays until the time that it was given. The steps for
each partition:

1. Export it to a file. The file, its hash in the manifest and the row in `archived_partitions` are durable.
2. Detach it. Readers and writers of the table do not wait for this, and nothing can write to the partition afterwards.
3. Read the file from the disk again and compare every row with the partition.
4. Drop the partition.

If a run is killed, the next run continues at the same step. If a row differs, the partition is attached again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2
from psycopg2 import sql

from deploy.errors import DeployError
from schemas.errors import Unavailable
from sinks.archive.table_archive import ArchivedPartition, TableArchive, selected_columns
from sinks.archived_partitions import add_archived, list_archived, remove_archived
from sinks.database import libpq_url
from sinks.partitions import (
    Partition,
    attach,
    create_months_ahead,
    detached_partitions,
    partition_named,
    read_partitions,
    retained_until_ns,
)
from sinks.record_tables import MONTHLY_TABLES, RECORD_TABLES

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

    from deploy.supervisor.process_spec import ProgressCallback

DAY_NS = 86_400_000_000_000
_FETCH_ROWS = 20_000
_DETACH_TIMEOUT_S = 600
_UNPRICED_POSITION = """
SELECT min(symbol) FROM positions p
WHERE quantity <> 0 AND NOT EXISTS (SELECT FROM bars b WHERE b.symbol = p.symbol AND b.ts_ns >= %s)
"""


class PartitionDrop(NamedTuple):
    """A partition that was exported and dropped, or would be. `file` is "" before the export and for an empty one."""

    table: str
    partition: str
    rows: int
    bytes: int
    file: str


def archive_partitions(
    database_url: str,
    archive: TableArchive,
    retention: Mapping[str, int],
    *,
    now_ns: int,
    dry_run: bool,
    report: ProgressCallback,
) -> list[PartitionDrop]:
    """Export and drop the partitions beyond `retention` (days by table), and create those of the next months.

    Raises DeployError and Unavailable.
    """
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5, application_name="archive")) as db:
            run = _ArchiveRun(db, archive, now_ns, report)
            if dry_run:
                return [run.describe(partition) for partition in run.plan(retention)]
            create_months_ahead(db, now_ns)
            drops = list(run.resume())
            return drops + [run.archive(partition) for partition in run.plan(retention)]
    except psycopg2.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise DeployError(f"cannot archive the tables: {reason}; the next run continues") from error
    except OSError as error:
        raise DeployError(f"cannot write to the archive {archive.folder}: {error.strerror or error}") from error


class _ArchiveRun:
    def __init__(self, db: Connection, archive: TableArchive, now_ns: int, report: ProgressCallback) -> None:
        self._db, self._archive, self._now_ns, self._report = db, archive, now_ns, report

    # -- what is old

    def plan(self, retention: Mapping[str, int]) -> list[Partition]:
        """Return the partitions whose rows are all older than `retention`, by table and oldest first."""
        with self._db, self._db.cursor() as cursor:
            planned = []
            for table, days in retention.items():
                for partition in read_partitions(cursor, table):
                    if (
                        retained_until_ns(cursor, partition.name) > self._now_ns
                        or not self._is_old(cursor, partition, days)
                        or (table == "bars" and self._has_price_of_position(cursor, partition))
                    ):
                        break
                    planned.append(partition)
        return planned

    def _is_old(self, cursor: Cursor, partition: Partition, days: int) -> bool:
        """Return whether the end of a partition is so many days before the newest row of its table, and before now."""
        until_ns = partition.end_ns + days * DAY_NS
        if until_ns > self._now_ns:
            return False  # a row with a time in the future does not make others old
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE ts_ns >= %s)").format(sql.Identifier(partition.table))
        cursor.execute(query, (until_ns,))
        [(found,)] = cursor.fetchall()
        return bool(found)

    def _has_price_of_position(self, cursor: Cursor, partition: Partition) -> bool:
        """Return whether the partition may have the last price of an open position, such as one in a halted stock."""
        cursor.execute(_UNPRICED_POSITION, (partition.end_ns,))
        [(symbol,)] = cursor.fetchall()
        if symbol is not None:
            self._report(f"{partition.name} stays: there is no later bar of {symbol}, which has a position")
        return symbol is not None

    def describe(self, partition: Partition) -> PartitionDrop:
        with self._db, self._db.cursor() as cursor:
            query = "SELECT (SELECT count(*) FROM {partition}), pg_total_relation_size(%s)"
            cursor.execute(sql.SQL(query).format(partition=sql.Identifier(partition.name)), (partition.name,))
            [(rows, size)] = cursor.fetchall()
        return PartitionDrop(partition.table, partition.name, rows, size, "")

    # -- the steps

    def resume(self) -> Iterator[PartitionDrop]:
        """Complete what an interrupted run has begun."""
        with self._db, self._db.cursor() as cursor:
            pending = [one for table in MONTHLY_TABLES for one in read_partitions(cursor, table) if one.detaching]
        for partition in pending:
            self._detach(partition, "FINALIZE")
        with self._db, self._db.cursor() as cursor:
            detached = [partition_named(name) for name in detached_partitions(cursor)]
        for partition in detached:
            exported = self._export_of(partition)
            if exported is not None:
                yield self._drop_verified(partition, exported)
            elif self._rows(partition):
                self._attach(partition)
            else:
                yield self._drop(partition, None)

    def archive(self, partition: Partition) -> PartitionDrop:
        """Export, detach, compare and drop a partition."""
        rows, exported = self._rows(partition), None
        if rows:
            self._report(f"exporting {partition.name}")
            exported = self._export(partition)
        self._detach(partition, "CONCURRENTLY")
        if exported is not None:
            return self._drop_verified(partition, exported)
        if self._rows(partition):  # written since
            self._attach(partition)
            return self.archive(partition)
        return self._drop(partition, None)

    def _rows(self, partition: Partition) -> bool:
        with self._db, self._db.cursor() as cursor:
            cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(partition.name)))
            [(found,)] = cursor.fetchall()
        return bool(found)

    def _export(self, partition: Partition) -> ArchivedPartition:
        earlier = self._export_of(partition)
        if earlier is not None and self._first_difference(partition, earlier) is None:
            return earlier  # of an interrupted run
        with self._db, self._db.cursor() as cursor:
            names = {one.file for one in list_archived(cursor, partition.table)}
        file, number = f"{partition.table}/{partition.name}.parquet", 2
        while file in names:  # rows of this month were written after it had been archived
            file, number = f"{partition.table}/{partition.name}.{number}.parquet", number + 1
        with self._db, closing(self._read(partition)) as rows:
            written = self._archive.write(
                partition.table, file, rows, end_ns=partition.end_ns, archived_ns=self._now_ns
            )
        with self._db, self._db.cursor() as cursor:
            add_archived(cursor, written)
        return written

    def _export_of(self, partition: Partition) -> ArchivedPartition | None:
        """Return the last file of a partition with this name."""
        with self._db, self._db.cursor() as cursor:
            listed = list_archived(cursor, partition.table)
        prefix = f"{partition.table}/{partition.name}."
        files = [one for one in listed if one.file.startswith(prefix)]
        return max(files, key=lambda one: one.archived_ns, default=None)

    def _read(self, partition: Partition) -> Generator[tuple[Any, ...]]:
        """Yield the rows of a partition in the order of the primary key, within the transaction."""
        kind = MONTHLY_TABLES[partition.table]
        columns, key = ", ".join(selected_columns(kind)), ", ".join(RECORD_TABLES[kind].primary_key)
        with self._db.cursor("archived_rows") as cursor:
            cursor.itersize = _FETCH_ROWS
            query = sql.SQL(f"SELECT {columns} FROM {{}} ORDER BY {key}")  # noqa: S608  (our names)
            cursor.execute(query.format(sql.Identifier(partition.name)))
            yield from cursor

    def _detach(self, partition: Partition, how: str) -> None:
        self._report(f"detaching {partition.name}")
        self._db.autocommit = True  # both forms cannot run in a transaction block
        try:
            with self._db.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, false)", (f"{_DETACH_TIMEOUT_S}s",))
                cursor.execute(
                    sql.SQL("ALTER TABLE {} DETACH PARTITION {} " + how).format(
                        sql.Identifier(partition.table), sql.Identifier(partition.name)
                    )
                )
                cursor.execute("RESET statement_timeout")
        finally:
            self._db.autocommit = False

    def _attach(self, partition: Partition) -> None:
        with self._db, self._db.cursor() as cursor:
            attach(cursor, partition)

    def _drop_verified(self, partition: Partition, exported: ArchivedPartition) -> PartitionDrop:
        """Drop a detached partition whose rows are in the file. Raises DeployError if one differs."""
        self._report(f"comparing {exported.file} with {partition.name}")
        difference = self._first_difference(partition, exported)
        if difference is None:
            return self._drop(partition, exported)
        self._attach(partition)
        with self._db, self._db.cursor() as cursor:
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(partition.name)))
            if cursor.fetchall() == [(exported.rows,)]:  # otherwise the file is of an earlier run, and has other rows
                remove_archived(cursor, exported)
        raise DeployError(
            f"{self._archive.folder / exported.file} differs from the partition {partition.name}: {difference}; the "
            "partition was attached again, and the next run exports it again"
        )

    def _first_difference(self, partition: Partition, exported: ArchivedPartition) -> str | None:
        with self._db, closing(self._read(partition)) as stored:
            try:
                for number, (row, archived) in enumerate(zip_longest(stored, self._archive.rows(exported)), start=1):
                    if row != archived and repr(row) != repr(archived):  # NaN differs from itself
                        return f"row {number} is {archived} in the file and {row} in the table"
            except Unavailable as error:
                return str(error)
        return None

    def _drop(self, partition: Partition, exported: ArchivedPartition | None) -> PartitionDrop:
        with self._db, self._db.cursor() as cursor:
            cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(partition.name)))
            cursor.execute("SELECT relispartition FROM pg_class WHERE oid = to_regclass(%s)", (partition.name,))
            [(attached,)] = cursor.fetchall()
            if not attached:
                cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(partition.name)))
            elif exported is not None:
                remove_archived(cursor, exported)
        if attached:
            raise DeployError(
                f"a row of {partition.name} was written while it was archived; the next run exports it again"
            )
        rows, size, file = (exported.rows, exported.bytes, exported.file) if exported is not None else (0, 0, "")
        return PartitionDrop(partition.table, partition.name, rows, size, file)
