"""Query the catalogue, recorded topics, the archive and PostgreSQL with SQL, in one name space.

    from dataflows.research import sql

    sql("SELECT symbol, count(*) AS fills FROM topics.executions WHERE exec_type = 'TRADE' GROUP BY symbol")

DuckDB runs the query in this process. Only the tables that the query names are read, each one as it is now.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import pyarrow as pa

from configs.recorded_endpoints import COMMAND_LINE, use_recorded_addresses
from configs.secrets import secrets_folder
from configs.settings import load_settings
from dataflows.research.overfitting.packages import require_package
from dataflows.research.price_adjustment import stored_factors
from dataflows.research.record_columns import frame_of, record_table
from dataflows.research.recorded_platform import recorded_platform
from dataflows.research.topics import READABLE, TopicPeriod, read_table
from dataflows.sources.catalog.bar_catalog import SCHEMA, BarCatalog, catalog_folder, verified_file
from schemas.errors import BadInput, Unavailable
from schemas.suggestions import did_you_mean
from sinks.archive.table_archive import TableArchive
from sinks.database import libpq_url
from sinks.record_tables import MONTHLY_TABLES, RECORD_TABLES, record_of

if TYPE_CHECKING:
    import duckdb

CATALOG, TOPICS, ARCHIVE, POSTGRES = "catalog", "topics", "archive", "postgres"
ROWS_MAX = 1_000_000
_BARS, _FACTORS = "bars", "factors"
_NAME = re.compile(rf'\b"?({CATALOG}|{TOPICS}|{ARCHIVE}|{POSTGRES})"?\s*\.\s*"?([A-Za-z_][\w-]*)"?')
_QUOTED_OR_COMMENT = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_KINDS = {table.name: kind for kind, table in RECORD_TABLES.items()}
_CONNECT_S = 3


class TableName(NamedTuple):
    """The name of a table in a query. `name` has underscores where a topic has dashes."""

    schema: str
    name: str


def table_names() -> dict[str, list[str]]:
    """Return the names of all tables by schema. A topic or table can be empty or missing."""
    return {
        CATALOG: [_BARS, _FACTORS],
        TOPICS: [topic.replace("-", "_") for topic in READABLE],
        ARCHIVE: sorted(MONTHLY_TABLES),
        POSTGRES: sorted(_KINDS),
    }


def sql(query: str, *, rows_max: int = ROWS_MAX) -> pd.DataFrame:
    """Return the result of one SELECT as a frame.

    catalog.bars     the bars of the catalogue, with the columns bar_interval, time (open), symbol, open … volume
    catalog.factors  the factors of splits and dividends
    topics.NAME      the records of a topic with its archive, such as topics.market_bars
    archive.NAME     the rows of a table that were moved to the archive, such as archive.bars
    postgres.NAME    the rows of a table in PostgreSQL, such as postgres.orders

    Columns are those of `topics.read`. Of topics, archive and PostgreSQL, at most the last `rows_max` records are read.
    The query can also read files, as in `FROM 'bars.parquet'`. Raises BadInput for an invalid query, and Unavailable if
    the source of a table does not respond.
    """
    names = _names_in(query)
    connection = _connect()
    with closing(connection):
        for name, table in _tables(names, rows_max):
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{name.schema}"')
            connection.register("source", table)
            connection.execute(f'CREATE TABLE "{name.schema}"."{name.name}" AS FROM source')
            connection.unregister("source")
        if TableName(CATALOG, _BARS) in names:
            _create_bars(connection, BarCatalog(catalog_folder()))
        return _run(connection, query)


def _connect() -> duckdb.DuckDBPyConnection:
    engine = require_package("duckdb")
    # No extension is loaded from the network, and a name in a query is never a variable of this program.
    options: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false",
    }
    connection: duckdb.DuckDBPyConnection = engine.connect(":memory:", config=options)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _run(connection: duckdb.DuckDBPyConnection, query: str) -> pd.DataFrame:
    import duckdb

    try:
        types = [statement.type for statement in connection.extract_statements(query)]
        if types != [duckdb.StatementType.SELECT]:
            raise BadInput("sql runs one SELECT at a time, and changes nothing")
        return frame_of(connection.sql(query).to_arrow_table())
    except duckdb.Error as error:
        raise BadInput(f"the query is invalid: {' '.join(str(error).split())[:500]}") from error


def _names_in(query: str) -> list[TableName]:
    """Return the tables that a query names. Raises BadInput for an unknown one."""
    known, found = table_names(), dict[TableName, None]()
    for schema, name in _NAME.findall(_QUOTED_OR_COMMENT.sub(" ", query).lower()):
        if name not in known[schema]:
            hint = did_you_mean(name, known[schema]) or f". Tables of {schema}: {', '.join(known[schema])}"
            raise BadInput(f"unknown table {schema}.{name}{hint}")
        found[TableName(schema, name)] = None
    return list(found)


def _tables(names: Iterable[TableName], rows_max: int) -> Iterator[tuple[TableName, pa.Table]]:
    """Yield the content of the tables, except that of `catalog.bars`, which DuckDB reads itself."""
    by_schema: dict[str, list[str]] = {}
    for schema, name in names:
        by_schema.setdefault(schema, []).append(name)
    if _FACTORS in by_schema.get(CATALOG, ()):
        yield TableName(CATALOG, _FACTORS), _factor_table(BarCatalog(catalog_folder()))
    if topics := by_schema.get(TOPICS):
        with recorded_platform() as settings:
            for name in topics:
                topic = next(one for one in READABLE if one.replace("-", "_") == name)
                yield TableName(TOPICS, name), read_table(settings, topic, TopicPeriod(), rows_max)
    for name in by_schema.get(ARCHIVE, ()):
        yield TableName(ARCHIVE, name), _archived_table(name, rows_max)
    if tables := by_schema.get(POSTGRES):
        for name, table in _database_tables(tables, rows_max):
            yield TableName(POSTGRES, name), table


def _create_bars(connection: duckdb.DuckDBPyConnection, catalog: BarCatalog) -> None:
    """Create the view of all bars in the catalogue, after the hashes of their files were compared."""
    selects = []
    for one in catalog.series():
        folder = catalog.series_folder(one.interval, one.symbol)
        files = [str(verified_file(folder, month)) for month in one.months if month.file]
        if files:
            listed = ", ".join(_literal(file) for file in files)
            selects.append(
                f"SELECT {_literal(one.interval)} AS bar_interval, * "  # noqa: S608 - our own paths, as literals
                f"FROM read_parquet([{listed}], hive_partitioning = false)"
            )
    connection.register("no_bars", SCHEMA.empty_table())
    empty = "SELECT '' AS bar_interval, * FROM no_bars"
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{CATALOG}"')
    connection.execute(f'CREATE VIEW "{CATALOG}"."{_BARS}" AS {" UNION ALL ".join(selects or [empty])}')


def _literal(text: str) -> str:
    """
    >>> _literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def _factor_table(catalog: BarCatalog) -> pa.Table:
    rows = [(symbol, *factor) for symbol, factors in stored_factors(catalog).items() for factor in factors]
    fields = {"symbol": pa.string(), "ex_date": pa.int64(), "kind": pa.string(), "action_id": pa.string()}
    fields |= {"price_factor": pa.float64(), "volume_factor": pa.float64(), "source": pa.string()}
    fields |= {"as_of_time": pa.timestamp("ns", "UTC")}
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, fields.values(), strict=True)]
    return pa.table(arrays, names=list(fields))


def _archived_table(name: str, rows_max: int) -> pa.Table:
    archive = load_settings().kafka.archive
    assert archive is not None, "the settings of a state folder have an archive folder"
    tables, kind = TableArchive(archive.folder), MONTHLY_TABLES[name]
    records: deque[Any] = deque(maxlen=rows_max)
    for partition in tables.partitions(name):
        records.extend(tables.records(kind, partition))
    return record_table([kind], records)


def _database_tables(names: Iterable[str], rows_max: int) -> Iterator[tuple[str, pa.Table]]:
    """Yield tables of PostgreSQL as of one moment. Raises Unavailable if it does not respond."""
    import psycopg2

    try:
        with closing(psycopg2.connect(libpq_url(_database_url(os.environ)), connect_timeout=_CONNECT_S)) as db:
            db.set_session(isolation_level="REPEATABLE READ", readonly=True)
            for name in names:
                yield name, _database_table(db, name, rows_max)
    except psycopg2.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise Unavailable(f"PostgreSQL does not respond: {reason}; start the platform first") from error


def _database_table(db: Any, name: str, rows_max: int) -> pa.Table:
    from schemas.records.flat import field_names

    kind = _KINDS[name]
    columns = field_names(kind)
    listed = ", ".join(f'"{column}"' for column in columns)
    with db.cursor("rows") as cursor:
        cursor.execute(f"SELECT {listed} FROM {name} ORDER BY ts_ns DESC LIMIT %s", (rows_max,))  # noqa: S608 - our names
        rows: list[Any] = [record_of(kind, dict(zip(columns, row, strict=True))) for row in cursor]
    return record_table([kind], reversed(rows))


def _database_url(environment: Mapping[str, str]) -> str:
    """Return DATABASE_URL, or that of the platform that runs in the state folder. Raises Unavailable without one."""
    variables = dict(environment)
    use_recorded_addresses(variables, secrets_folder(variables), COMMAND_LINE)
    url = variables.get("DATABASE_URL")
    if not url:
        raise Unavailable("no PostgreSQL: no platform runs in the state folder, and DATABASE_URL is not set")
    return url
