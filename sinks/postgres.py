"""Write records to Postgres: idempotent under replay, one transaction per batch, with retries during an outage.

`docs/decisions/0003-postgres-writes.md` explains how a batch is written and why.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Collection, Iterable, Sequence
from io import BytesIO
from typing import Any

import psycopg2
import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lowercase name)
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.extras import execute_values

from operators.stage import TimeSlice
from schemas.errors import Unavailable
from schemas.records import Record
from sinks import audit
from sinks.database import libpq_url
from sinks.partitions import create_partitions
from sinks.record_tables import RECORD_TABLES
from sinks.statements import WRITE_STATEMENTS, WriteStatements

log = structlog.get_logger(__name__)

COPY_FROM_ROWS = 40
"""With this number of rows for one table or more, COPY into the stage table is faster than VALUES (measured)."""
ATTEMPT_PAUSE_S = (0.05, 2.0)
"""First and longest pause between attempts during an outage, in seconds."""


class PostgresWriter:
    """Writes batches of records of any types. A batch is one transaction; duplicate records are stored once.

    Not thread-safe. The first batch opens the connection.
    """

    def __init__(
        self, database_url: str, *, name: str, unavailable_after_s: float = 120.0, audited: bool = True
    ) -> None:
        """`name` appears in `pg_stat_activity`. `unavailable_after_s` limits the retries of one batch.

        `audited` links new records into the audit chain (`sinks/audit.py`). Disable it to rewrite rows that the chain
        already contains.
        """
        self._url = libpq_url(database_url)
        self._name = name
        self._unavailable_after_s = unavailable_after_s
        self._audited, self._chain_started = audited, False
        self._connection: Connection | None = None
        self._stage_tables: set[type] = set()
        self._disconnected = False

    def write(self, records: Iterable[Record]) -> None:
        """Commit the records. Raises Unavailable if Postgres stays unavailable; then either none or all are committed.

        A month without a partition gets one. Raises psycopg2.Error if a table is missing or a value does not fit: a
        defect, or a missing migration.
        """
        batches = _group_by_type(records)
        if not batches:
            return
        deadline = time.monotonic() + self._unavailable_after_s
        pause, pause_max = ATTEMPT_PAUSE_S
        while True:
            try:
                self._commit(batches)
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                # Whether a lost commit succeeded does not matter: writing it again changes nothing.
                self.close()
                self._log_disconnect(error)
                if time.monotonic() + pause > deadline:
                    waited = f"{self._unavailable_after_s:g} s"
                    raise Unavailable(f"Postgres accepted no batch for {waited}: {_first_line(error)}") from error
                time.sleep(pause)
                pause = min(2 * pause, pause_max)
            except psycopg2.Error:
                self.close()
                raise
            else:
                self._log_reconnect()
                return

    def close(self) -> None:
        """Close the connection; uncommitted writes are rolled back."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._stage_tables.clear()

    def _commit(self, batches: dict[type, list[Any]]) -> None:
        try:
            self._write_batches(batches)
        except psycopg2.errors.CheckViolation:  # a month without a partition
            self._create_partitions(batches)
            self._write_batches(batches)

    def _create_partitions(self, batches: dict[type, list[Any]]) -> None:
        self.close()
        tables = {RECORD_TABLES[kind]: rows for kind, rows in batches.items()}
        times = {table.name: {row.ts_ns for row in rows} for table, rows in tables.items() if table.by_month}
        created = create_partitions(self._open(), times)
        log.info("partitions created", writer=self._name, partitions=created)

    def _write_batches(self, batches: dict[type, list[Any]]) -> None:
        # Not `with connection`: on a broken connection its rollback hides the original error.
        connection = self._open()
        cursor = connection.cursor()
        for record_type, rows in batches.items():
            statements = WRITE_STATEMENTS[record_type]
            if len(rows) < COPY_FROM_ROWS:
                if statements.replace_values_sql:
                    keys = [statements.primary_key_of(row) for row in rows]
                    execute_values(cursor, statements.replace_values_sql, keys, page_size=len(rows))
                execute_values(cursor, statements.values_sql, statements.value_rows(rows), page_size=len(rows))
            else:
                self._copy(cursor, statements, rows)
        audited = self._audited and not audit.AUDITED_TYPE_SET.isdisjoint(batches)
        if audited:
            audit.extend(cursor, batches, backfill=not self._chain_started)
        connection.commit()
        self._chain_started = self._chain_started or audited

    def _copy(self, cursor: Cursor, statements: WriteStatements, rows: list[Any]) -> None:
        if statements.record_type not in self._stage_tables:
            cursor.execute(statements.stage_ddl)
            self._stage_tables.add(statements.record_type)
        cursor.copy_expert(statements.copy_sql, BytesIO(statements.copy_bytes(rows)))
        if statements.replace_sql:
            cursor.execute(statements.replace_sql)
        cursor.execute(statements.merge_sql)

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._stage_tables.clear()
            self._connection = psycopg2.connect(
                self._url,
                application_name=self._name,
                connect_timeout=5,
                # Detect a vanished host within 15 s and a stuck statement within 60 s.
                tcp_user_timeout=15_000,
                options="-c statement_timeout=60000 -c lock_timeout=30000 -c idle_in_transaction_session_timeout=60000",
            )
        return self._connection

    def _log_disconnect(self, error: Exception) -> None:
        if not self._disconnected:
            log.warning("postgres unavailable, batch pending", writer=self._name, error=_first_line(error))
        self._disconnected = True

    def _log_reconnect(self) -> None:
        if self._disconnected:
            log.warning("postgres available again", writer=self._name)
        self._disconnected = False


def _group_by_type(records: Iterable[Record]) -> dict[type, list[Any]]:
    """Group records by type, in a fixed order of types, so that all writers lock tables in the same order."""
    rows_by_type: dict[type, list[Any]] = {}
    for record in records:
        record_type = type(record)
        rows = rows_by_type.get(record_type)
        if rows is None:
            rows = rows_by_type[record_type] = []
        rows.append(record)
    return {
        record_type: statements.prepare_rows(rows_by_type[record_type])
        for record_type, statements in WRITE_STATEMENTS.items()
        if record_type in rows_by_type
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class PostgresSinkPartition(StatefulSinkPartition[Sequence[TimeSlice], None]):
    """One partition of the sink, with its own connection."""

    def __init__(self, writer: PostgresWriter, excluded: Collection[type] = ()) -> None:
        self._writer, self._excluded = writer, frozenset(excluded)

    def write_batch(self, values: list[Sequence[TimeSlice]]) -> None:
        """Write lists of time slices in one transaction."""
        records = (record for time_slices in values for time_slice in time_slices for record in time_slice.records)
        excluded = self._excluded
        self._writer.write((record for record in records if type(record) not in excluded) if excluded else records)

    def snapshot(self) -> None:
        """No state: committed rows are in the tables, and a replay does not change them."""

    def close(self) -> None:
        self._writer.close()


class PostgresSink(FixedPartitionedSink[Sequence[TimeSlice], None]):
    """Bytewax sink for items `(key, time slices)`. Writes every record to the table of its type.

    Records of the `excluded` types are not written. With `partitions` > 1 the keys are shard numbers "0" … "N-1" and
    each has its own connection.
    """

    def __init__(
        self,
        database_url: str,
        *,
        name: str = "sink",
        partitions: int = 1,
        unavailable_after_s: float = 120.0,
        excluded: Collection[type] = (),
    ) -> None:
        assert partitions >= 1
        self._database_url = database_url
        self._name = name
        self._partitions = partitions
        self._unavailable_after_s = unavailable_after_s
        self._excluded = excluded

    def list_parts(self) -> list[str]:
        # Fixed width, so that text order equals numeric order.
        return [f"{part:04d}" for part in range(self._partitions)]

    def part_fn(self, item_key: str) -> int:
        return (
            int(item_key) % self._partitions
            if item_key.isdecimal()
            else zlib.crc32(item_key.encode()) % self._partitions
        )

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> PostgresSinkPartition:
        return PostgresSinkPartition(
            PostgresWriter(
                self._database_url,
                name=f"{self._name}:{for_part}",
                unavailable_after_s=self._unavailable_after_s,
            ),
            self._excluded,
        )
