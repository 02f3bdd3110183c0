"""Every table of records against what the uninterrupted run writes, by EXCEPT ALL both ways, in the database itself.

The expected rows lie in a schema `expected` beside the platform's own and are written there by the platform's own
writer, each record once. Compared are all columns but `_ARRIVAL_COLUMNS`; of the others none is a wall-clock time, but an
answer's, which is recorded (`ts` is computed from `ts_ns`).

So is the audit chain, link by link, which is a function of the log. Left out are the API's own tables, which hold times
of day and salted hashes; of these the number of rows is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2 import sql

from operators.stage import TimeSlice
from sinks import audit
from sinks.database import libpq_url
from sinks.postgres import PostgresWriter
from sinks.tables import TABLE_OF

_SCHEMA = "expected"
_ARRIVAL_COLUMNS = {("news", "ts_ns"), ("fundamentals", "ts_ns")}
"""When an edge learnt it. One that dies between table and topic learns it once more: the row keeps the first moment,
the topic has the second."""
COMPARED_TABLES = (*TABLE_OF.values(), audit.chain, audit.segments)
_API_TABLES = {"users": 1, "sessions": 0, "submissions": 0}
"""The API's tables and how many rows they have when nobody has logged in: the first administrator."""


def first_difference(database_url: str, time_slices: Iterable[TimeSlice]) -> str | None:
    """Write the expected rows and compare. In one sentence; None when all tables are equal."""
    with closing(psycopg2.connect(libpq_url(database_url))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            _write_expected(cursor, database_url, time_slices)
            for table in COMPARED_TABLES:
                columns = [
                    column.name
                    for column in table.columns
                    if column.computed is None and (table.name, column.name) not in _ARRIVAL_COLUMNS
                ]
                for left, right, problem in (("public", _SCHEMA, "too many"), (_SCHEMA, "public", "missing")):
                    rows = _except_rows(cursor, table.name, columns, left, right)
                    if rows:
                        values_text = ", ".join(
                            f"{name}={value}" for name, value in zip(columns, rows[0][1:], strict=True)
                        )
                        return f"table {table.name}: {rows[0][0]} rows {problem}, the first: {values_text}"
            for name, expected in _API_TABLES.items():
                cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name)))
                [(count,)] = cursor.fetchall()
                if count != expected:
                    return f"table {name}: {count} rows, expected {expected}"
    return None


def row_counts(database_url: str) -> dict[str, int]:
    """Rows of each table that is compared."""
    counts_by_table = {}
    with closing(psycopg2.connect(libpq_url(database_url))) as connection, connection.cursor() as cursor:
        for table in COMPARED_TABLES:
            cursor.execute(sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(table.name)))
            [(counts_by_table[table.name],)] = cursor.fetchall()
    return counts_by_table


def _write_expected(cursor: Any, database_url: str, time_slices: Iterable[TimeSlice]) -> None:
    cursor.execute("SELECT current_database()")
    [(database,)] = cursor.fetchall()
    schema, database_name = sql.Identifier(_SCHEMA), sql.Identifier(database)
    cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
    cursor.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
    for table in COMPARED_TABLES:
        name = sql.Identifier(table.name)
        cursor.execute(sql.SQL("CREATE TABLE {}.{} (LIKE public.{} INCLUDING ALL)").format(schema, name, name))
    # The writer names no schema; for a moment the expected one comes first for new connections.
    cursor.execute(sql.SQL("ALTER DATABASE {} SET search_path = {}, public").format(database_name, schema))
    try:
        with closing(PostgresWriter(database_url, name="expected")) as writer:
            for time_slice in time_slices:
                writer.write(time_slice.records)
    finally:
        cursor.execute(sql.SQL("ALTER DATABASE {} RESET search_path").format(database_name))


def _except_rows(cursor: Any, table: str, columns: list[str], left: str, right: str) -> list[Any]:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    select = sql.SQL("SELECT {} FROM {}.{}")
    query = sql.SQL("SELECT count(*) OVER (), d.* FROM ({} EXCEPT ALL {}) d LIMIT 1").format(
        select.format(names, sql.Identifier(left), sql.Identifier(table)),
        select.format(names, sql.Identifier(right), sql.Identifier(table)),
    )
    cursor.execute(query)
    return list(cursor.fetchall())
