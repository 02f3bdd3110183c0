"""Bars by interval, symbol and month: `catalog/interval=1m/symbol=SPY/2024-03-HASH.parquet`, with a manifest each.

The name of a file contains its hash, so that a file is never changed. A manifest is replaced as a whole: bars exist
from this moment on. A process that is killed before leaves files that no manifest lists, which a later writer removes.
Prices are stored as they were received.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from operators.bar_completion import parse_interval_s
from schemas.errors import Unavailable
from sinks.archive.container_file import file_hash
from sinks.archive.log_manifest import MANIFEST_FILE, read_rows, sync_folder, write_rows

DEFAULT_HOME = Path(__file__).resolve().parents[3] / "var"
VALUES = ("open", "high", "low", "close", "volume")
SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in VALUES),
    ]
)
"""The columns of a file. `time` is the open of the bar."""
_INTERVAL, _SYMBOL = "interval=", "symbol="
_LEFTOVER_AGE_S = 86_400  # a reader may still read a file that was replaced


class CatalogMonth(NamedTuple):
    """The bars of one symbol in one month (UTC).

    month             such as 2024-03
    file              name of the file; "" if the source has no bar in this month
    sha256, bytes     hash and size of the file
    rows              number of bars
    first_ns, last_ns open of the first and of the last bar
    calendar          trading calendar with which the bars were read
    sources           where the bars are from, oldest first
    as_of_ns          when the bars were last changed
    covered_by        source of a download that has delivered all of its bars in [covered_from_ns, covered_to_ns)
    """

    month: str
    file: str
    sha256: str
    bytes: int
    rows: int
    first_ns: int
    last_ns: int
    calendar: str
    sources: list[str]
    as_of_ns: int
    covered_by: str = ""
    covered_from_ns: int = 0
    covered_to_ns: int = 0


class CatalogSeries(NamedTuple):
    """The months of one symbol and interval, oldest first."""

    interval: str
    symbol: str
    months: list[CatalogMonth]

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.months)


class CatalogOrigin(NamedTuple):
    """Where added bars are from, and when they were received. `covered_*` as in `CatalogMonth`."""

    source: str
    calendar: str
    as_of_ns: int
    covered_from_ns: int = 0
    covered_to_ns: int = 0


class AddedBars(NamedTuple):
    """What adding bars did: bars at new times, bars with other values at known times, bars that were there already."""

    new: int = 0
    changed: int = 0
    same: int = 0

    def plus(self, other: AddedBars) -> AddedBars:
        return AddedBars(self.new + other.new, self.changed + other.changed, self.same + other.same)


def catalog_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the catalogue: in PLATFORM_HOME, or in `var/` of the repository."""
    return Path(environment.get("PLATFORM_HOME") or DEFAULT_HOME).resolve() / "catalog"


def month_of(open_ns: int) -> str:
    """Return the month (UTC) of a time.

    >>> month_of(1_704_205_800_000_000_000)
    '2024-01'
    """
    return f"{datetime.fromtimestamp(open_ns // 1_000_000_000, UTC):%Y-%m}"


def month_bounds_ns(month: str) -> tuple[int, int]:
    """Return the first nanosecond of a month, and of the next one.

    >>> month_bounds_ns("1970-01")
    (0, 2678400000000000)
    """
    first = np.datetime64(month, "M")
    return int(first.astype("datetime64[ns]").astype(np.int64)), int(
        (first + 1).astype("datetime64[ns]").astype(np.int64)
    )


class BarCatalog:
    """The catalogue in `folder`, which is created when the first bars are added. Several processes can use it at once.

    Methods raise Unavailable if a file or a manifest is damaged, or if the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def intervals(self) -> list[str]:
        """Return the intervals, shortest first."""
        names = [path.name.removeprefix(_INTERVAL) for path in self.folder.glob(f"{_INTERVAL}*")]
        return sorted(names, key=parse_interval_s)

    def symbols(self, interval: str) -> list[str]:
        """Return the symbols with bars of an interval, sorted."""
        found = (self.folder / f"{_INTERVAL}{interval}").glob(f"{_SYMBOL}*/{MANIFEST_FILE}")
        return sorted(symbol_of(path.parent) for path in found)

    def series(self) -> list[CatalogSeries]:
        """Return the months of all symbols and intervals."""
        return [
            CatalogSeries(interval, symbol, self.months(interval, symbol))
            for interval in self.intervals()
            for symbol in self.symbols(interval)
        ]

    def series_folder(self, interval: str, symbol: str) -> Path:
        return self.folder / f"{_INTERVAL}{interval}" / f"{_SYMBOL}{quote(symbol, safe='')}"

    def months(self, interval: str, symbol: str) -> list[CatalogMonth]:
        """Return the months of a symbol, oldest first; none if it is unknown."""
        return catalog_months(self.series_folder(interval, symbol))

    def read(self, interval: str, symbol: str, months: Sequence[CatalogMonth] | None = None) -> pa.Table:
        """Return the bars of a symbol in order of time. The hash of each file is compared first."""
        folder = self.series_folder(interval, symbol)
        listed = self.months(interval, symbol) if months is None else months
        tables = [parquet.read_table(verified_file(folder, one), schema=SCHEMA) for one in listed if one.file]
        return pa.concat_tables(tables) if tables else SCHEMA.empty_table()

    def add(self, interval: str, symbol: str, bars: pa.Table, origin: CatalogOrigin) -> AddedBars:
        """Add bars of one symbol with the columns of `SCHEMA` and distinct times. Then they are on the disk.

        A bar replaces the one with the same time. With a covered period, its months are listed even without a bar.
        """
        with self._writing(interval, symbol) as folder:
            months = {one.month: one for one in catalog_months(folder)}
            added = AddedBars()
            for month, rows in _by_month(bars, origin).items():
                known = months.get(month)
                merged, count = _merge(self.read(interval, symbol, [known] if known else []), rows)
                if known is None or count.new or count.changed:
                    known = _write_month(folder, month, merged, known, origin)
                months[month] = _with_coverage(known, origin)
                added = added.plus(count)
            listed = [months[month] for month in sorted(months)]
            if listed != catalog_months(folder):
                write_rows(folder / MANIFEST_FILE, listed)
                sync_folder(folder.parent)
            _remove_leftovers(folder, {one.file for one in listed})
        return added

    def remove(self, interval: str, symbol: str, months: Sequence[str]) -> None:
        """Remove months of a symbol, also damaged ones."""
        with self._writing(interval, symbol) as folder:
            remaining = [one for one in catalog_months(folder) if one.month not in months]
            if remaining:
                write_rows(folder / MANIFEST_FILE, remaining)
            else:
                (folder / MANIFEST_FILE).unlink(missing_ok=True)
                sync_folder(folder)

    @contextmanager
    def _writing(self, interval: str, symbol: str) -> Iterator[Path]:
        """Yield the folder of a symbol, which no other process writes meanwhile."""
        folder = self.series_folder(interval, symbol)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self.folder / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield folder
        except OSError as error:
            raise Unavailable(f"the catalogue {self.folder} cannot be written: {error.strerror or error}") from error


def is_series_folder(path: Path) -> bool:
    """Whether a path is the folder of a symbol in a catalogue."""
    return path.name.startswith(_SYMBOL) and path.parent.name.startswith(_INTERVAL)


def symbol_of(folder: Path) -> str:
    return unquote(folder.name.removeprefix(_SYMBOL))


def interval_of(folder: Path) -> str:
    return folder.parent.name.removeprefix(_INTERVAL)


def catalog_months(folder: Path) -> list[CatalogMonth]:
    """Return the months that the manifest in the folder of a symbol lists. Raises Unavailable if it is damaged."""
    return read_rows(folder / MANIFEST_FILE, CatalogMonth)


def verified_file(folder: Path, month: CatalogMonth) -> Path:
    """Return the file of a month after its hash was compared. Raises Unavailable if it is damaged or missing."""
    path = folder / month.file
    try:
        status = path.stat()
        found = _file_hash(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise Unavailable(
            f"the catalogue file {path} cannot be read: {error.strerror}; {_repair(folder, month)}"
        ) from error
    if found != month.sha256:
        raise Unavailable(
            f"the catalogue file {path} is damaged: its SHA-256 starts with {found[:12]}, expected "
            f"{month.sha256[:12]} (manifest); {_repair(folder, month)}"
        )
    return path


@lru_cache(maxsize=100_000)
def _file_hash(path: Path, size: int, changed_ns: int) -> str:
    """Return the hash of a file that is read once as long as neither its size nor its time changes."""
    return file_hash(path)


def _repair(folder: Path, month: CatalogMonth) -> str:
    symbol, interval = symbol_of(folder), interval_of(folder)
    return (
        f"remove the month with `python cli.py data rm {symbol} --interval {interval} --month {month.month}`, then "
        "download or import it again"
    )


def _by_month(bars: pa.Table, origin: CatalogOrigin) -> dict[str, pa.Table]:
    """Return the bars by month, with empty tables for months of the covered period."""
    months = pc.strftime(bars["time"], format="%Y-%m") if len(bars) else pa.chunked_array([], pa.string())
    tables = {month: bars.filter(pc.equal(months, month)) for month in sorted(set(months.to_pylist()))}
    if origin.covered_to_ns > origin.covered_from_ns:
        first, last = (np.datetime64(month_of(ns), "M") for ns in (origin.covered_from_ns, origin.covered_to_ns - 1))
        for month in np.arange(first, last + 1):
            tables.setdefault(str(month), SCHEMA.empty_table())
    return tables


def _merge(known: pa.Table, added: pa.Table) -> tuple[pa.Table, AddedBars]:
    """Return the bars of both in order of time. At a common time, the added bar counts."""
    if not len(known):
        return added.sort_by("time"), AddedBars(new=len(added))
    rows = {row[0]: row for row in _rows(known)}
    additions = {row[0]: row for row in _rows(added)}
    changed = sum(rows.get(open_ns, row) != row for open_ns, row in additions.items())
    new = len(additions.keys() - rows.keys())
    count = AddedBars(new=new, changed=changed, same=len(additions) - new - changed)
    rows |= additions
    columns = zip(*(rows[open_ns] for open_ns in sorted(rows)), strict=True)
    return pa.table([pa.array(v, f.type) for v, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA), count


def _rows(bars: pa.Table) -> Iterator[tuple[Any, ...]]:
    times = bars["time"].cast(pa.int64()).to_pylist()
    return zip(times, *(bars[name].to_pylist() for name in SCHEMA.names[1:]), strict=True)


def _write_month(
    folder: Path, month: str, bars: pa.Table, known: CatalogMonth | None, origin: CatalogOrigin
) -> CatalogMonth:
    """Write the file of a month, unless it has no bars, and return its entry, which replaces `known`."""
    sources = [] if known is None else known.sources
    opens = bars["time"].cast(pa.int64())
    name, sha256, size = _write_file(folder, month, bars) if len(bars) else ("", "", 0)
    return CatalogMonth(
        month=month,
        file=name,
        sha256=sha256,
        bytes=size,
        rows=len(bars),
        first_ns=opens[0].as_py() if len(bars) else 0,
        last_ns=opens[-1].as_py() if len(bars) else 0,
        calendar=origin.calendar,
        sources=list(dict.fromkeys([*sources, origin.source])),
        as_of_ns=origin.as_of_ns,
        covered_by="" if known is None else known.covered_by,
        covered_from_ns=0 if known is None else known.covered_from_ns,
        covered_to_ns=0 if known is None else known.covered_to_ns,
    )


def _write_file(folder: Path, month: str, bars: pa.Table) -> tuple[str, str, int]:
    """Write a file durably. Return its name, hash and size."""
    temporary = folder / f".{month}.tmp"
    parquet.write_table(bars, temporary, compression="zstd")
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sha256, size = file_hash(temporary), temporary.stat().st_size
    name = f"{month}-{sha256[:16]}.parquet"
    temporary.replace(folder / name)
    sync_folder(folder)
    return name, sha256, size


def _with_coverage(entry: CatalogMonth, origin: CatalogOrigin) -> CatalogMonth:
    """Return the entry with the part of the covered period in its month, joined with that of the same source if the two
    touch.
    """
    if origin.covered_to_ns <= origin.covered_from_ns:
        return entry
    start_ns, end_ns = month_bounds_ns(entry.month)
    first, last = max(start_ns, origin.covered_from_ns), min(end_ns, origin.covered_to_ns)
    touches = entry.covered_from_ns <= last and first <= entry.covered_to_ns
    if entry.covered_by == origin.source and touches:
        first, last = min(first, entry.covered_from_ns), max(last, entry.covered_to_ns)
    return entry._replace(covered_by=origin.source, covered_from_ns=first, covered_to_ns=last)


def _remove_leftovers(folder: Path, listed: set[str]) -> None:
    """Remove the files of killed and earlier writers, unless a process could still read them."""
    for path in folder.iterdir():
        is_data = path.name != MANIFEST_FILE and path.name not in listed
        if is_data and path.stat().st_mtime < time.time() - _LEFTOVER_AGE_S:
            path.unlink(missing_ok=True)
