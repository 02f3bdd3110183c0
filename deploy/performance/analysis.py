"""What stands out in the running platform: who lags, who works most, which tables and statements cost most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.probes import read_stats
from deploy.supervisor.state import State, Status

if TYPE_CHECKING:
    from sqlalchemy import Connection

LAG_S, LOAD_SHARE, STATEMENT_MS = 5.0, 0.8, 100.0
DEAD_SHARE, DEAD_ROWS, SCANNED_ROWS = 0.2, 10_000, 100_000


class Load(NamedTuple):
    """One dataflow. `lag_s` event time behind the feed; `cores` used since it started; `records_in` since then."""

    service: str
    lag_s: float | None
    cores: float | None
    records_in: int
    dead_letters: int
    rss_mb: float | None


class TableUse(NamedTuple):
    """One table, of PostgreSQL's statistics since they were reset. `unused_indexes` that nothing has read; keys and
    unique ones are not among them: they hold rules.
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


class Statement(NamedTuple):
    text: str
    calls: int | None
    mean_ms: float


def loads(home: Home, state: State) -> list[Load]:
    """Every dataflow that reports, the one with most work first."""
    rows = {child.name: read_stats(home.stats / f"{child.name}.json") for child in state.children}
    told = {name: row for name, row in rows.items() if row is not None}
    newest = max((_number(row, "last_tick_ns") or 0 for row in told.values()), default=0)
    return sorted((_load(name, row, newest) for name, row in told.items()), key=lambda load: -(load.cores or 0.0))


def _load(name: str, row: Mapping[str, Any], newest: float) -> Load:
    tick, cpu, rss = _number(row, "last_tick_ns"), _number(row, "cpu_s"), _number(row, "rss_bytes")
    started, updated = _number(row, "started_at"), _number(row, "updated_at")
    lived = updated - started if started is not None and updated is not None else 0.0
    return Load(
        name,
        None if tick is None or tick <= 0 else (newest - tick) / 1e9,
        cpu / lived if cpu is not None and lived > 1 else None,
        int(_number(row, "records_in") or 0),
        int(_number(row, "dead_letters") or 0),
        None if rss is None else rss / 1e6,
    )


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def table_uses(db: Connection) -> list[TableUse]:
    """Every table of the platform, the largest first."""
    from sqlalchemy import text

    unused: dict[str, list[str]] = {}
    for table, index in db.execute(
        text(
            "SELECT s.relname, s.indexrelname FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid) "
            "WHERE s.schemaname = 'public' AND s.idx_scan = 0 AND NOT i.indisunique ORDER BY 1, 2"
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


def statements(db: Connection, limit: int = 5) -> tuple[str, list[Statement]]:
    """The slowest statements and where they are from: pg_stat_statements, else what runs at this moment."""
    from sqlalchemy import text

    if db.execute(text("SELECT to_regclass('pg_stat_statements') IS NOT NULL")).scalar():
        rows = db.execute(
            text(
                "SELECT query, calls, mean_exec_time FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
                "WHERE d.datname = current_database() ORDER BY mean_exec_time DESC LIMIT :limit"
            ),
            {"limit": limit},
        )
        return "pg_stat_statements", [Statement(" ".join(query.split()), calls, ms) for query, calls, ms in rows]
    rows = db.execute(
        text(
            "SELECT query, 1000 * extract(epoch FROM clock_timestamp() - query_start)::float8 FROM pg_stat_activity "
            "WHERE state = 'active' AND pid <> pg_backend_pid() AND datname = current_database() "
            "ORDER BY 2 DESC LIMIT :limit"
        ),
        {"limit": limit},
    )
    return "running now (pg_stat_statements is not installed)", [
        Statement(" ".join(query.split()), None, ms) for query, ms in rows
    ]


def cache_share(db: Connection) -> float | None:
    """Share of the blocks of this database that were found in PostgreSQL's own memory."""
    from sqlalchemy import text

    statement = "SELECT blks_hit, blks_read FROM pg_stat_database WHERE datname = current_database()"
    hit, read = db.execute(text(statement)).one()
    return float(hit / (hit + read)) if hit + read else None


def findings(state: State, dataflows: list[Load], tables: list[TableUse], slow: list[Statement]) -> list[str]:
    """What somebody should look at, a sentence each; empty when nothing stands out."""
    found = [
        f"{child.name} is {child.status}{f': {child.reason}' if child.reason else ''}"
        for child in state.children
        if child.status not in (Status.HEALTHY, Status.STOPPED)
    ]
    for load in dataflows:
        if load.lag_s is not None and load.lag_s > LAG_S:
            found.append(f"{load.service} is {load.lag_s:,.1f} s of event time behind")
        if load.cores is not None and load.cores > LOAD_SHARE:
            found.append(f"{load.service} uses {load.cores:.0%} of a core: `performance profile {load.service}`")
        if load.dead_letters:
            found.append(f"{load.service} set {load.dead_letters:,} dead letters aside: `dead-letters list`")
    found += [
        f"table {table.name} has {table.dead_rows:,} dead rows beside {table.rows:,}: `performance optimize --apply`"
        for table in tables
        if needs_vacuum(table)
    ]
    found += [f"a statement takes {one.mean_ms:,.0f} ms: {one.text[:80]}" for one in slow if one.mean_ms > STATEMENT_MS]
    return found


def needs_vacuum(table: TableUse) -> bool:
    return table.dead_rows > DEAD_ROWS and table.dead_rows > DEAD_SHARE * max(table.rows, 1)


def read_through(table: TableUse) -> bool:
    """Whether it is large and mostly read from end to end: a query may want an index."""
    large = table.rows > SCANNED_ROWS and table.sequential_scans > 10
    return large and table.sequential_scans > table.index_scans


def unreachable(error: Exception) -> DeployError:
    return DeployError(f"the database cannot be read: {str(getattr(error, 'orig', error)).strip().splitlines()[0]}")
