"""The partitions of the tables of market data: one for each month (UTC) of `ts_ns`, named like `bars_2026_01`.

The platform creates the months around the present ahead of time. A row of any other month, such as one of a recorded
market, gets its partition when a sink writes it. There is no default partition: with one, each new partition would
have to lock it and search it for rows, and PostgreSQL could not detach a partition while the platform runs.

Rows from before a table had partitions are in one partition `bars_before_2026_02` with the rows of all earlier months.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from psycopg2 import sql

from sinks.record_tables import MONTHLY_TABLES

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

MONTHS_AHEAD = 2
TS_NS_MIN = -(2**63)
_LOCK = 7_203_114_002
_RESTORED = "loaded from the archive, retained until ns "
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(rf"({'|'.join(MONTHLY_TABLES)})_(before_)?(\d{{4}})_(\d{{2}})")
_BOUNDS = re.compile(r"FOR VALUES FROM \((MINVALUE|'-?\d+')\) TO \('(-?\d+)'\)")
_PARTITIONS = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), i.inhdetachpending
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass(%s)
"""
_DETACHED = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND NOT c.relispartition ORDER BY 1
"""


class Month(NamedTuple):
    """A month in UTC: the times [start_ns, end_ns). `name` is like `2026_01`."""

    name: str
    start_ns: int
    end_ns: int


def month_of(ts_ns: int, months_later: int = 0) -> Month:
    """Return the month of a time, or a later one.

    >>> month_of(1_767_225_599_999_999_999).name, month_of(1_767_225_600_000_000_000, 2).name
    ('2025_12', '2026_03')
    """
    at = _EPOCH + timedelta(seconds=ts_ns // 1_000_000_000)
    months = at.year * 12 + at.month - 1 + months_later
    start, end = (datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in (months, months + 1))
    return Month(f"{start:%Y_%m}", _ns(start), _ns(end))


def _ns(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(seconds=1) * 1_000_000_000


class Partition(NamedTuple):
    """A partition of `table` with the rows of the times [start_ns, end_ns).

    `detaching`: an earlier run has begun to detach it, and queries do not read it any more.
    """

    table: str
    name: str
    start_ns: int
    end_ns: int
    detaching: bool = False


def is_partition_name(name: str) -> bool:
    """Return whether a table with this name is a partition, attached or not.

    >>> is_partition_name("bars_2026_01"), is_partition_name("bars_before_2026_02"), is_partition_name("bars")
    (True, True, False)
    """
    return _NAME.fullmatch(name) is not None


def partition_named(name: str) -> Partition:
    """Return the partition of a name, with its bounds.

    >>> partition_named("bars_1970_02")
    Partition(table='bars', name='bars_1970_02', start_ns=2678400000000000, end_ns=5097600000000000, detaching=False)
    """
    match = _NAME.fullmatch(name)
    assert match is not None, f"{name} is not the name of a partition"
    table, before, year, month = match.groups()
    of_month = month_of(_ns(datetime(int(year), int(month), 1, tzinfo=UTC)))
    if before:
        return Partition(table, name, TS_NS_MIN, of_month.start_ns)
    return Partition(table, name, of_month.start_ns, of_month.end_ns)


def read_partitions(cursor: Cursor, table: str) -> list[Partition]:
    """Return the partitions of a table, oldest first."""
    cursor.execute(_PARTITIONS, (table,))
    partitions = []
    for name, bounds, detaching in cursor.fetchall():
        match = _BOUNDS.fullmatch(bounds or "")
        assert match is not None, f"{name} has the bounds {bounds}"
        start_ns = TS_NS_MIN if match[1] == "MINVALUE" else int(match[1].strip("'"))
        partitions.append(Partition(table, name, start_ns, int(match[2]), detaching))
    return sorted(partitions, key=lambda one: one.end_ns)


def detached_partitions(cursor: Cursor) -> list[str]:
    """Return the tables that were partitions and are not attached, because a run was interrupted."""
    cursor.execute(_DETACHED)
    return [name for (name,) in cursor.fetchall() if is_partition_name(name)]


def create_partitions(connection: Connection, times_ns: Mapping[str, Iterable[int]]) -> list[str]:
    """Create the missing partitions for the times of each table, commit, and return their names.

    Readers and writers of the tables do not wait: a new partition is created as a table of its own and then attached.
    """
    created: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        for table, times in times_ns.items():
            existing = read_partitions(cursor, table)
            missing = [month for month in sorted({month_of(ts_ns) for ts_ns in times}) if not _covered(month, existing)]
            created += [_create(cursor, table, month) for month in missing]
    connection.commit()
    return created


def _covered(month: Month, partitions: Iterable[Partition]) -> bool:
    return any(month.start_ns < one.end_ns and one.start_ns < month.end_ns for one in partitions)


def _create(cursor: Cursor, table: str, month: Month) -> str:
    name = f"{table}_{month.name}"
    names = {"partition": sql.Identifier(name), "table": sql.Identifier(table)}
    # It exists if an archiving run was interrupted after it had detached the partition.
    cursor.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {partition} (LIKE {table} INCLUDING ALL)").format(**names))
    attach(cursor, Partition(table, name, month.start_ns, month.end_ns))
    return name


def attach(cursor: Cursor, partition: Partition) -> None:
    """Make a table a partition. PostgreSQL reads it to check its rows, unless it has such a constraint."""
    start = sql.SQL("MINVALUE") if partition.start_ns == TS_NS_MIN else sql.Literal(partition.start_ns)
    cursor.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(partition.table), sql.Identifier(partition.name), start, sql.Literal(partition.end_ns)
        )
    )


def retain_until(cursor: Cursor, name: str, until_ns: int) -> None:
    """Mark a partition that was loaded from the archive: `archive create` leaves it in the database until this time."""
    cursor.execute(
        sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(name), sql.Literal(f"{_RESTORED}{until_ns}"))
    )


def retained_until_ns(cursor: Cursor, name: str) -> int:
    """Return the time until which a partition stays in the database because it was loaded from the archive, or 0."""
    cursor.execute("SELECT obj_description(to_regclass(%s), 'pg_class')", (name,))
    [(comment,)] = cursor.fetchall()
    return int(comment.removeprefix(_RESTORED)) if (comment or "").startswith(_RESTORED) else 0


def create_months_ahead(connection: Connection, now_ns: int) -> list[str]:
    """Create the partitions of this month and the next ones, commit, and return the names of the new ones."""
    times = [month_of(now_ns, later).start_ns for later in range(MONTHS_AHEAD + 1)]
    return create_partitions(connection, dict.fromkeys(MONTHLY_TABLES, times))


def attach_loaded_table(cursor: Cursor, table: str, loaded: str) -> None:
    """Make a table with rows of any months the first partition of `table`, which has no partitions yet.

    An empty table is dropped. The partition is named after the first month that it does not contain.
    """
    cursor.execute(sql.SQL("SELECT max(ts_ns) FROM {}").format(sql.Identifier(loaded)))
    [(newest_ns,)] = cursor.fetchall()
    if newest_ns is None:
        cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(loaded)))
        return
    end = month_of(newest_ns, 1)
    name = f"{table}_before_{end.name}"
    cursor.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier(loaded), sql.Identifier(name)))
    attach(cursor, Partition(table, name, TS_NS_MIN, end.start_ns))
