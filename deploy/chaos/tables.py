"""Compare every table of records with the uninterrupted run, in the database, by EXCEPT ALL in both directions.

The platform's own writer writes the expected rows, each record once, into the schema `expected` of the same database.
All columns except `_ARRIVAL_COLUMNS` are compared. None of them is a wall-clock time, except the recorded arrival time
of a model response (`ts` is computed from `ts_ns`).

The audit chain is a function of the log and is compared link by link. The API's own tables hold wall-clock times and
salted hashes, so only their numbers of rows are compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2 import sql
from sqlalchemy import Table

from operators.stage import TimeSlice
from sinks import audit_tables
from sinks.database import libpq_url
from sinks.postgres import PostgresWriter
from sinks.tables import TABLE_OF

_SCHEMA = "expected"
_ARRIVAL_COLUMNS = {("news", "ts_ns"), ("fundamentals", "ts_ns")}
"""Arrival times at an edge. An edge that is killed between table and topic receives the record twice: the row has the
first time, the topic the second."""
COMPARED_TABLES = (*TABLE_OF.values(), audit_tables.chain, audit_tables.segments)
_API_TABLES = {"users": 1, "sessions": 0, "second_factors": 0, "submissions": 0}
"""Expected numbers of rows in the API's tables before the first login: only the first administrator exists."""


def first_difference(database_url: str, time_slices: Iterable[TimeSlice]) -> str | None:
    """Write the expected rows and compare. Return the first difference as a sentence, None if all tables are equal."""
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
                for left, right, problem in (("public", _SCHEMA, "unexpected"), (_SCHEMA, "public", "missing")):
                    rows = _except_rows(cursor, table, columns, left, right)
                    if rows:
                        values_text = ", ".join(
                            f"{name}={value}" for name, value in zip(columns, rows[0][1:], strict=True)
                        )
                        return f"table {table.name}: {rows[0][0]} rows {problem}; the first: {values_text}"
            for name, expected in _API_TABLES.items():
                cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name)))
                [(count,)] = cursor.fetchall()
                if count != expected:
                    return f"table {name}: {count} rows, expected {expected}"
    return None


def row_counts(database_url: str) -> dict[str, int]:
    """Return the number of rows of each compared table."""
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
    # The writer uses no schema names, so the expected schema is temporarily first for new connections.
    cursor.execute(sql.SQL("ALTER DATABASE {} SET search_path = {}, public").format(database_name, schema))
    try:
        with closing(PostgresWriter(database_url, name="expected")) as writer:
            for time_slice in time_slices:
                writer.write(time_slice.records)
    finally:
        cursor.execute(sql.SQL("ALTER DATABASE {} RESET search_path").format(database_name))


def _except_rows(cursor: Any, table: Table, columns: list[str], left: str, right: str) -> list[Any]:
    """Return the first row, by primary key, of `left` that `right` lacks, with the number of such rows before it."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    key = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.primary_key)
    select = sql.SQL("SELECT {} FROM {}.{}")
    query = sql.SQL("SELECT count(*) OVER (), d.* FROM ({} EXCEPT ALL {}) d ORDER BY {} LIMIT 1").format(
        select.format(names, sql.Identifier(left), sql.Identifier(table.name)),
        select.format(names, sql.Identifier(right), sql.Identifier(table.name)),
        key,
    )
    cursor.execute(query)
    return list(cursor.fetchall())
