"""Disk space that each topic, table and folder of a state folder uses, and a forecast when the disk is full."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from api.metrics.disk import read_samples
from deploy.home import Home
from operators.disk_forecast import days_left, growth_per_day

_LOG_FOLDER = re.compile(r"(.+)-\d+")
_FOLDERS = ("archive", "backups", "catalog", "checkpoints", "logs", "models", "recovery")
_TABLES = """
SELECT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text, sum(pg_total_relation_size(c.oid))
FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' GROUP BY 1
"""


class DiskUsage(NamedTuple):
    """Bytes on the disk of the state folder. `bytes_per_day` and `days_left` are None without a day of samples.

    `topics` is None if Kafka is not the embedded one, `tables` if PostgreSQL does not respond.
    """

    free_bytes: int
    total_bytes: int
    bytes_per_day: float | None
    days_left: float | None
    topics: dict[str, int] | None
    tables: dict[str, int] | None
    folders: dict[str, int]


def read_disk_usage(home: Home, database_url: str | None) -> DiskUsage:
    disk = shutil.disk_usage(home.root)
    growth = growth_per_day(read_samples(home.root))
    return DiskUsage(
        free_bytes=disk.free,
        total_bytes=disk.total,
        bytes_per_day=growth,
        days_left=None if growth is None else days_left(growth, disk.free),
        topics=topic_bytes(home.data / "kafka"),
        tables=None if database_url is None else _table_bytes(database_url),
        folders={name: folder_bytes(home.root / name) for name in _FOLDERS if (home.root / name).exists()},
    )


def topic_bytes(kafka: Path) -> dict[str, int] | None:
    """Return the bytes of each topic in the log folder of the embedded Kafka."""
    if not (kafka / "meta.properties").exists():
        return None
    topics: dict[str, int] = {}
    for folder in kafka.iterdir():
        match = _LOG_FOLDER.fullmatch(folder.name)
        if match is not None and folder.is_dir():
            topics[match[1]] = topics.get(match[1], 0) + folder_bytes(folder)
    return topics


def folder_bytes(folder: Path) -> int:
    """Return the disk space of all files below a folder. Files that disappear meanwhile do not count."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name), follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _table_bytes(database_url: str) -> dict[str, int] | None:
    import psycopg2

    from sinks.database import libpq_url

    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=3)) as connection:
            cursor = connection.cursor()
            cursor.execute(_TABLES)
            rows: list[tuple[str, Any]] = cursor.fetchall()
    except psycopg2.Error:
        return None
    return {name: int(size) for name, size in rows}


def disk_line(usage: DiskUsage) -> str:
    """Return free space and forecast as one line.

    >>> disk_line(DiskUsage(2_160_000_000, 9_000_000_000, 120e6, 18.0, None, None, {}))
    'disk: 2.2 of 9.0 GB free, 18 days left (0.12 GB a day)'
    >>> disk_line(DiskUsage(2_160_000_000, 9_000_000_000, None, None, None, None, {}))
    'disk: 2.2 of 9.0 GB free, no forecast yet (needs one day of samples)'
    """
    line = f"disk: {usage.free_bytes / 1e9:.1f} of {usage.total_bytes / 1e9:.1f} GB free"
    if usage.bytes_per_day is None:
        return f"{line}, no forecast yet (needs one day of samples)"
    if usage.days_left is None:
        return f"{line}, used space does not grow"
    return f"{line}, {usage.days_left:,.0f} days left ({usage.bytes_per_day / 1e9:.2f} GB a day)"


def largest(sizes: dict[str, int], count: int) -> list[tuple[str, int]]:
    """Return the largest entries, and the sum of the others as the last one.

    >>> largest({"a": 1, "b": 5, "c": 2, "d": 1}, 2)
    [('b', 5), ('c', 2), ('2 others', 2)]
    """
    ordered = sorted(sizes.items(), key=lambda entry: (-entry[1], entry[0]))
    others = ordered[count:]
    rest = [(f"{len(others)} others", sum(size for _, size in others))] if others else []
    return [*ordered[:count], *rest]
