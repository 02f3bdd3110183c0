"""Copy the platform's tables into a backup and back, with PostgreSQL's COPY.

The schema of a restored database comes from the migrations of this release, never from the file. Rows are data: no text
of a backup is executed as SQL or read by psql.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, cursor

from deploy.backup.archive import ArchiveWriter
from deploy.backup.manifest import TableContent, accepted_tables, table_entry
from deploy.errors import DeployError
from schemas.errors import BadInput
from sinks import audit
from sinks.database import libpq_url
from sinks.partitions import attach_loaded_table, is_partition_name
from sinks.queries import stream_records

REVISION_TABLE = "alembic_version"
_SCHEMA_PATTERN = re.compile(r"before_restore_[0-9]{8}t[0-9]{6}z")


class DatabaseSummary(NamedTuple):
    """Schema revision and version of a database, and the newest time (ns) of market data in it, -1 without any."""

    revision: str
    server: str
    newest_ns: int


@contextmanager
def open_database(database_url: str) -> Iterator[connection]:
    """Open a connection. Raises DeployError for every error of the database within the block."""
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5)) as db:
            yield db
    except psycopg2.Error as error:
        raise DeployError(f"cannot use the database: {str(error).strip().splitlines()[0]}") from error


# -- backup ------------------------------------------------------------------------------------------------------------


@contextmanager
def database_snapshot(database_url: str) -> Iterator[connection]:
    """Yield a connection that reads the database as of one moment."""
    with open_database(database_url) as db:
        db.set_session(isolation_level="REPEATABLE READ", readonly=True)
        yield db


def summarize(db: connection) -> DatabaseSummary:
    """Raises DeployError if the database has no schema."""
    with db.cursor() as query:
        query.execute("SELECT current_setting('server_version'), to_regclass('public.alembic_version') IS NOT NULL")
        [(server, has_schema)] = query.fetchall()
        if not has_schema:
            raise DeployError("nothing to back up: the database has no schema; run `python cli.py migrate`")
        query.execute("SELECT version_num FROM public.alembic_version")
        [(revision,)] = query.fetchall()
        newest_ns = -1
        for table in ("bars", "quotes", "trades"):
            query.execute("SELECT to_regclass(%s) IS NOT NULL", (f"public.{table}",))
            [(exists,)] = query.fetchall()
            if exists:
                query.execute(sql.SQL("SELECT max(ts_ns) FROM {}").format(sql.Identifier("public", table)))
                [(ts_ns,)] = query.fetchall()
                newest_ns = max(newest_ns, -1 if ts_ns is None else int(ts_ns))
    return DatabaseSummary(revision=revision, server=server, newest_ns=newest_ns)


def tables_in(db: connection) -> dict[str, tuple[str, ...]]:
    """Return the platform's tables in the database with their stored columns, in order. Partitions belong to theirs.

    Raises DeployError if there are other tables, which a backup could not hold.
    """
    with db.cursor() as query:
        query.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND is_generated = 'NEVER' ORDER BY table_name, ordinal_position"
        )
        columns: dict[str, list[str]] = {}
        for table, column in query.fetchall():
            if not is_partition_name(table):
                columns.setdefault(table, []).append(column)
    if unknown := sorted(columns.keys() - accepted_tables() - {REVISION_TABLE}):
        raise DeployError(
            f"the schema `public` has the table {unknown[0]}, which is not the platform's; move it to another schema"
        )
    return {table: tuple(names) for table, names in columns.items() if table != REVISION_TABLE}


def write_tables(db: connection, archive: ArchiveWriter) -> dict[str, TableContent]:
    """Add one entry per table."""
    contents = {}
    for table, columns in tables_in(db).items():
        with archive.entry(table_entry(table)) as write, db.cursor() as query:
            query.copy_expert(_copy_out(table, columns).as_string(db), _Writer(write))
            contents[table] = TableContent(rows=query.rowcount, columns=columns)
    return contents


class _Writer:
    def __init__(self, write: Any) -> None:
        self.write = write


def _copy_out(table: str, columns: Iterable[str]) -> sql.Composed:
    # A query, because COPY does not read the partitions of a table.
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(_names(columns), sql.Identifier("public", table))


def _copy_in(table: str, columns: Iterable[str]) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier("public", table), _names(columns))


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


# -- restore -----------------------------------------------------------------------------------------------------------


def row_counts(db: connection) -> dict[str, int]:
    """Count the rows of all tables of the schema `public`, without that of the schema revision."""
    with db.cursor() as query:
        query.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        names = [name for (name,) in query.fetchall() if name != REVISION_TABLE and not is_partition_name(name)]
        counts = {}
        for name in names:
            query.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("public", name)))
            [(counts[name],)] = query.fetchall()
    return counts


def require_empty_database(database_url: str, *, force: bool) -> None:
    """Raises DeployError if the database has rows and `force` is false."""
    with open_database(database_url) as db:
        non_empty = {name: rows for name, rows in row_counts(db).items() if rows}
    if non_empty and not force:
        name, rows = max(non_empty.items(), key=lambda item: item[1])
        raise DeployError(
            f"the database is not empty ({name} has {rows:,} rows); use --force to move its tables to another schema "
            "and to restore the backup"
        )


@contextmanager
def emptied_database(database_url: str) -> Iterator[str]:
    """Move all tables to a new schema, `before_restore_…`, and yield its name; "" if there are none.

    If the block fails, the tables that it made are dropped and the others are moved back.
    """
    schema = f"before_restore_{datetime.now(UTC):%Y%m%dt%H%M%Sz}"
    with open_database(database_url) as db, db:
        moved = _move_tables(db, "public", schema)
    try:
        yield schema if moved else ""
    except BaseException:
        with open_database(database_url) as db, db, db.cursor() as query:
            for table in _tables_of(query, "public"):
                query.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier("public", table)))
            if moved:
                _move_tables(db, schema, "public")
                query.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(schema)))
        raise


def _move_tables(db: connection, source: str, target: str) -> list[str]:
    with db.cursor() as query:
        tables = _tables_of(query, source)
        if tables and target != "public":
            assert _SCHEMA_PATTERN.fullmatch(target), "the name of the schema has a time"
            query.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(target)))
        for table in tables:
            statement = sql.SQL("ALTER TABLE {} SET SCHEMA {}")
            query.execute(statement.format(sql.Identifier(source, table), sql.Identifier(target)))
    return tables


def _tables_of(query: cursor, schema: str) -> list[str]:
    query.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", (schema,))
    return [name for (name,) in query.fetchall()]


@contextmanager
def loading(db: connection, contents: Mapping[str, TableContent]) -> Iterator[TableLoader]:
    """Load tables within one transaction. It commits if all tables have the rows of `contents` at the end."""
    with db, db.cursor() as query:
        existing = tables_in(db)
        unknown = sorted(contents.keys() ^ existing.keys())
        if unknown:
            raise BadInput(f"the backup and the schema of its release differ in the tables {', '.join(unknown)}")
        constraints = _drop_foreign_keys(query)  # rows arrive table by table, in any order
        query.execute(
            sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(sql.Identifier("public", table) for table in contents))
        )
        loader = TableLoader(query, existing)
        yield loader
        loader.attach_partitions()
        for statement in constraints:
            query.execute(statement)
        for name, table in contents.items():
            if loader.rows.get(name, 0) != table.rows:
                raise DeployError(
                    f"table {name} does not have the {table.rows:,} rows of the manifest ({loader.rows.get(name, 0):,})"
                )


class TableLoader:
    """Loads rows in COPY's text format. `rows`: the number of rows loaded so far, by table."""

    def __init__(self, query: cursor, existing: Mapping[str, tuple[str, ...]]) -> None:
        self._query, self._existing = query, existing
        query.execute("SELECT relname FROM pg_class WHERE relkind = 'p' AND relnamespace = 'public'::regnamespace")
        self._by_month = {name for (name,) in query.fetchall()}
        self.rows: dict[str, int] = {}

    def load(self, table: str, columns: tuple[str, ...], source: Any) -> None:
        """Load `source.read(size)`. Raises BadInput if the table or a column is unknown."""
        known = self._existing.get(table)
        if known is None or not set(columns) <= set(known) or len(set(columns)) != len(columns):
            raise BadInput(f"the backup has unknown columns in table {table[:63]!r}: {', '.join(columns)[:200]}")
        rows = _RowSource(source)
        try:
            statement = _copy_in(self._loaded(table), columns).as_string(self._query)
            self._query.copy_expert(statement, rows)  # type: ignore[arg-type]  # psycopg2 only calls read
        except psycopg2.Error:
            if rows.error is not None:
                raise rows.error from None  # psycopg2 reports it as an error of the database
            raise
        self.rows[table] = self.rows.get(table, 0) + self._query.rowcount

    def _loaded(self, table: str) -> str:
        """Return the table into which rows are copied: of a table by month, one that becomes its first partition."""
        if table not in self._by_month:
            return table
        loaded = f"{table}_loaded"
        names = {"loaded": sql.Identifier(loaded), "table": sql.Identifier(table)}
        self._query.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {loaded} (LIKE {table} INCLUDING ALL)").format(**names))
        return loaded

    def attach_partitions(self) -> None:
        """Attach the loaded tables. Call it after the last row."""
        for table in self._by_month & self.rows.keys():
            attach_loaded_table(self._query, table, f"{table}_loaded")


class _RowSource:
    """A source of rows that remembers the error of a read."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.error: Exception | None = None

    def read(self, size: int = -1) -> Any:
        try:
            return self._source.read(size)
        except (BadInput, DeployError, OSError) as error:
            self.error = error
            raise


def _drop_foreign_keys(query: cursor) -> list[sql.Composed]:
    """Drop all foreign keys and return the statements that create them again."""
    query.execute(
        "SELECT r.relname, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c "
        "JOIN pg_class r ON r.oid = c.conrelid JOIN pg_namespace n ON n.oid = r.relnamespace "
        "WHERE n.nspname = 'public' AND c.contype = 'f' ORDER BY 1, 2"
    )
    statements = []
    for table, name, definition in query.fetchall():
        names = (sql.Identifier("public", table), sql.Identifier(name))
        query.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(*names))
        # The definition is that of our own migration, as PostgreSQL prints it.
        statements.append(sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(*names, sql.SQL(definition)))
    return statements


def forget_identity(database_url: str) -> None:
    """Remove the identity from a database whose tables do not fit the topics, so that `start` refuses it."""
    with open_database(database_url) as db, db, db.cursor() as query:
        query.execute("DELETE FROM platform_identity")


def extend_audit_chain(database_url: str) -> None:
    """Extend the audit chain of a restored database to the rows that were rebuilt from the topics.

    The links depend only on the records, so they equal those of the lost database.
    """
    with open_database(database_url) as db, db.cursor() as query:
        audit.extend(query, {kind: list(stream_records(db, kind)) for kind in audit.AUDITED_TYPES}, backfill=True)
        db.commit()


def migration_revisions() -> set[str]:
    """Return the schema revisions that this release can restore."""
    from alembic.script import ScriptDirectory

    from sinks.database import MIGRATIONS

    return {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}


def require_existing_revision(revision: str, file: object) -> None:
    """Raises BadInput if the schema comes from a newer release."""
    if revision not in migration_revisions():
        raise BadInput(
            f"{file} has schema {revision}, which is unknown: restore it with the newer release that wrote it"
        )
