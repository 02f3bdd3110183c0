"""Analyse the running platform: lag and load of dataflows, cost of tables and statements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.probes import read_stats
from deploy.supervisor.state import ChildStatus, PlatformState

if TYPE_CHECKING:
    from sqlalchemy import Connection

LAG_S_MAX, LOAD_SHARE_MAX, STATEMENT_MS_MAX = 5.0, 0.8, 100.0
DEAD_ROWS_SHARE_MAX, DEAD_ROWS_MAX, SCANNED_ROWS_MIN = 0.2, 10_000, 100_000


class DataflowLoad(NamedTuple):
    """One dataflow. `lag_s` is event time behind the feed; `cores` is the mean use since its start."""

    service: str
    lag_s: float | None
    cores: float | None
    records_in: int
    dead_letters: int
    rss_mb: float | None


class TableUse(NamedTuple):
    """One table, from PostgreSQL's statistics since their last reset.

    `unused_indexes` were never read. Unique indexes are excluded, because they enforce constraints.
    """

    name: str
    rows: int
    dead_rows: int
    bytes: int
    sequential_scans: int
    rows_scanned: int
    index_scans: int
    analyzed: bool
    unused_indexes: tuple[str, ...]


class SlowStatement(NamedTuple):
    text: str
    calls: int | None
    mean_ms: float


def dataflow_loads(home: Home, state: PlatformState) -> list[DataflowLoad]:
    """Return the dataflows that report statistics, by load in descending order."""
    rows = {child.name: read_stats(home.stats / f"{child.name}.json") for child in state.children}
    reports = {name: row for name, row in rows.items() if row is not None}
    newest_ns = max((_number(row, "last_tick_ns") or 0 for row in reports.values()), default=0)
    return sorted((_load(name, row, newest_ns) for name, row in reports.items()), key=lambda load: -(load.cores or 0.0))


def _load(name: str, row: Mapping[str, Any], newest_ns: float) -> DataflowLoad:
    clock_ns, cpu, rss = _number(row, "last_tick_ns"), _number(row, "cpu_s"), _number(row, "rss_bytes")
    started, updated = _number(row, "started_at"), _number(row, "updated_at")
    uptime_s = updated - started if started is not None and updated is not None else 0.0
    return DataflowLoad(
        service=name,
        lag_s=None if clock_ns is None or clock_ns <= 0 else (newest_ns - clock_ns) / 1e9,
        cores=cpu / uptime_s if cpu is not None and uptime_s > 1 else None,
        records_in=int(_number(row, "records_in") or 0),
        dead_letters=int(_number(row, "dead_letters") or 0),
        rss_mb=None if rss is None else rss / 1e6,
    )


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def table_uses(db: Connection) -> list[TableUse]:
    """Return every table of the platform, by size in descending order."""
    from sqlalchemy import text

    unused: dict[str, list[str]] = {}
    for table, index in db.execute(
        text(
            "SELECT s.relname, s.indexrelname FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid) "
            "JOIN pg_class c ON c.oid = s.relid "
            "WHERE s.schemaname = 'public' AND s.idx_scan = 0 AND NOT i.indisunique AND NOT c.relispartition "
            "ORDER BY 1, 2"
        )
    ):
        unused.setdefault(table, []).append(index)
    rows = db.execute(
        text(
            "SELECT relname, n_live_tup, n_dead_tup, pg_total_relation_size(relid), coalesce(seq_scan, 0), "
            "coalesce(seq_tup_read, 0), coalesce(idx_scan, 0), coalesce(last_analyze, last_autoanalyze) IS NOT NULL "
            "FROM pg_stat_user_tables WHERE schemaname = 'public' ORDER BY 4 DESC"
        )
    )
    return [TableUse._make((*row, tuple(unused.get(row[0], ())))) for row in rows]


def slowest_statements(db: Connection, limit: int = 5) -> tuple[str, list[SlowStatement]]:
    """Return the source and the slowest statements: of pg_stat_statements, else those that run now."""
    from sqlalchemy import text

    if db.execute(text("SELECT to_regclass('pg_stat_statements') IS NOT NULL")).scalar():
        rows = db.execute(
            text(
                "SELECT query, calls, mean_exec_time FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
                "WHERE d.datname = current_database() ORDER BY mean_exec_time DESC LIMIT :limit"
            ),
            {"limit": limit},
        )
        return "pg_stat_statements", [SlowStatement(" ".join(query.split()), calls, ms) for query, calls, ms in rows]
    rows = db.execute(
        text(
            "SELECT query, 1000 * extract(epoch FROM clock_timestamp() - query_start)::float8 FROM pg_stat_activity "
            "WHERE state = 'active' AND pid <> pg_backend_pid() AND datname = current_database() "
            "ORDER BY 2 DESC LIMIT :limit"
        ),
        {"limit": limit},
    )
    return "running now (pg_stat_statements is not installed)", [
        SlowStatement(" ".join(query.split()), None, ms) for query, ms in rows
    ]


def cache_share(db: Connection) -> float | None:
    """Return the share of this database's block reads that PostgreSQL's cache served; None before any read."""
    from sqlalchemy import text

    statement = "SELECT blks_hit, blks_read FROM pg_stat_database WHERE datname = current_database()"
    hit, read = db.execute(text(statement)).one()
    return float(hit / (hit + read)) if hit + read else None


def findings(
    state: PlatformState, dataflows: list[DataflowLoad], tables: list[TableUse], slow_statements: list[SlowStatement]
) -> list[str]:
    """Return one sentence per anomaly; an empty list if there is none."""
    messages = [
        f"{child.name} is {child.status}{f': {child.reason}' if child.reason else ''}"
        for child in state.children
        if child.status not in (ChildStatus.HEALTHY, ChildStatus.STOPPED)
    ]
    for load in dataflows:
        if load.lag_s is not None and load.lag_s > LAG_S_MAX:
            messages.append(f"{load.service} is {load.lag_s:,.1f} s of event time behind")
        if load.cores is not None and load.cores > LOAD_SHARE_MAX:
            messages.append(f"{load.service} uses {load.cores:.0%} of a core: `performance profile {load.service}`")
        if load.dead_letters:
            messages.append(f"{load.service} has {load.dead_letters:,} dead letters: `dead-letters list`")
    messages += [
        f"table {table.name} has {table.dead_rows:,} dead and {table.rows:,} live rows: `performance optimize --apply`"
        for table in tables
        if needs_vacuum(table)
    ]
    messages += [
        f"a statement takes {slow.mean_ms:,.0f} ms: {slow.text[:80]}"
        for slow in slow_statements
        if slow.mean_ms > STATEMENT_MS_MAX
    ]
    return messages


def needs_vacuum(table: TableUse) -> bool:
    return table.dead_rows > DEAD_ROWS_MAX and table.dead_rows > DEAD_ROWS_SHARE_MAX * max(table.rows, 1)


def needs_index(table: TableUse) -> bool:
    """Return whether the table is large and mostly read by sequential scans, which suggests a missing index."""
    large = table.rows > SCANNED_ROWS_MIN and table.sequential_scans > 10
    return large and table.sequential_scans > table.index_scans


def database_error(error: Exception) -> DeployError:
    return DeployError(f"cannot read the database: {str(getattr(error, 'orig', error)).strip().splitlines()[0]}")
