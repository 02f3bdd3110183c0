"""Check files of bars before a backtest: intervals, gaps, duplicates, outliers, sessions, zone, splits, stale runs.

The rows are read by the feed of the backtest, so that a finding is about what a backtest would see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from dataflows.research.symbol_check import (
    EXAMPLES_MAX,
    STALE_BARS_MIN,
    STALE_DAYS_MIN,
    SymbolCheck,
    SymbolScanner,
)
from dataflows.sources.bar_files import list_files
from dataflows.sources.catalog.bar_catalog import BarCatalog, is_series_folder, symbol_of
from dataflows.sources.catalog.catalog_paths import CATALOG_PREFIX, with_catalog_interval
from dataflows.sources.feed_scan import FileScan, distance_text
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.row_times import iso
from operators.bar_completion import Calendar, FeedSettings
from schemas.counted import counted
from schemas.errors import BadInput, Unavailable
from schemas.records import REGULAR, Bar, DeadLetter

CLOSED_SHARE_MAX = 0.01  # of the rows, outside all sessions, without a finding


@dataclass
class FileCheck:
    """The findings about one file. `error` is set if the file cannot be read; the rest is then empty.

    `intervals` counts the most frequent distances of successive rows, `no_volume` rows with volume 0, which are not
    trades, and `closed` rows outside all sessions. `suspected_zone` is the zone in which clearly more rows would lie in
    the regular session, if their times have none. `findings` lists what should be looked at.
    """

    file: str
    error: str | None = None
    rows: int = 0
    first: str | None = None
    last: str | None = None
    interval: str | None = None
    session: str | None = None
    is_ordered: bool = True
    intervals: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    rejected: int = 0
    no_volume: int = 0
    closed: int = 0
    rejected_examples: list[str] = field(default_factory=list)
    session_rows: dict[str, int] = field(default_factory=dict)
    suspected_zone: str | None = None
    symbols: dict[str, SymbolCheck] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def check_files(paths: Sequence[Path], settings: FeedSettings) -> Iterator[FileCheck]:
    """Yield the check of each file; folders stand for their files. Raises BadInput if a path does not exist."""
    settings = with_catalog_interval(settings, paths)
    for path in list_files(paths, settings.interval_s):
        yield _check_file(path, settings)


def check_catalog(catalog: BarCatalog, settings: FeedSettings) -> Iterator[FileCheck]:
    """Yield the check of each symbol and interval of the catalogue, with the hashes of all its files.

    Raises BadInput if it is empty, and Unavailable if a manifest is damaged.
    """
    series = catalog.series()
    if not series:
        raise BadInput(f"the catalogue {catalog.folder} is empty, and no file was passed")
    for one in series:
        calendar = one.months[-1].calendar
        own = replace(settings, bar_interval=one.interval, bar_interval_s=None, calendar=cast("Calendar", calendar))
        yield _check_file(catalog.series_folder(one.interval, one.symbol), own)


def _check_file(path: Path, settings: FeedSettings) -> FileCheck:
    is_catalog = is_series_folder(path)
    check = FileCheck(f"{CATALOG_PREFIX}{symbol_of(path)}" if is_catalog else path.name)
    if not (is_catalog or path.is_file()):
        raise BadInput(f"file {path} does not exist")
    try:
        feed = FileFeed([path], settings)
        _describe_scan(check, feed.scan.files[0])
        check.interval, check.session = feed.settings.bar_interval, feed.settings.session
        is_daily = check.interval == "1d"
        scanners: dict[str, SymbolScanner] = {}
        for time_slice in feed:
            for record in time_slice.records:
                if type(record) is Bar:
                    if record.symbol not in scanners:
                        scanners[record.symbol] = SymbolScanner(STALE_DAYS_MIN if is_daily else STALE_BARS_MIN)
                    scanners[record.symbol].add(record)
                elif type(record) is DeadLetter:
                    check.rejected += 1
                    if len(check.rejected_examples) < EXAMPLES_MAX:
                        check.rejected_examples.append(f"line {record.offset}: {record.reason}")
    except (BadInput, Unavailable) as error:
        check.error = str(error)
        check.findings.append(check.error)
        return check
    check.no_volume, check.closed = feed.counts.no_volume, feed.counts.closed
    check.symbols = {symbol: scanner.finish() for symbol, scanner in sorted(scanners.items())}
    if is_daily:  # a row stands for its day, whatever its time
        check.session_rows = {REGULAR: feed.counts.bars - feed.counts.no_trade_bars, "closed": check.closed}
    check.suspected_zone = feed.scan.suspected_zone(feed.settings)
    check.findings = [*feed.scan.interval_warnings(settings), *feed.warnings()]
    check.findings += _findings(check)
    return check


def _describe_scan(check: FileCheck, scan: FileScan) -> None:
    check.rows, check.duplicates, check.is_ordered = scan.rows, scan.duplicates, scan.is_ordered
    if scan.rows:
        check.first, check.last = iso(scan.first_ns), iso(scan.last_ns)
    check.intervals = {distance_text(seconds): count for seconds, count in scan.distances_s.most_common(5)}
    check.session_rows = {phase or "closed": count for phase, count in scan.phases.most_common()}


def _findings(check: FileCheck) -> list[str]:
    findings = []
    if check.rejected and not any("rejected" in warning for warning in check.findings):
        rejected = counted(check.rejected, "row is", "rows are")
        findings.append(f"{rejected} rejected, the first one in {check.rejected_examples[0]}")
    if check.duplicates:
        findings.append(
            f"{counted(check.duplicates, 'row repeats', 'rows repeat')} the time of another row of the symbol"
        )
    if check.closed > CLOSED_SHARE_MAX * check.rows and not any("outside" in warning for warning in check.findings):
        closed = counted(check.closed, "row lies", "rows lie")
        findings.append(f"{closed} outside all sessions, such as holidays; check the calendar and the time zone")
    for symbol, symbol_check in check.symbols.items():
        if symbol_check.missing_days and symbol_check.is_liquid:
            days = counted(len(symbol_check.missing_days), "session has", "sessions have")
            findings.append(f"{symbol}: {days} no row, the first one {symbol_check.missing_days[0]}")
        if symbol_check.split_like:
            first = symbol_check.split_like[0]
            findings.append(f"{symbol}: a jump like a split of {first['ratio']} at {first['time']}")
        if symbol_check.outliers:
            first = symbol_check.outliers[0]
            outliers = counted(len(symbol_check.outliers), "outlier", "outliers")
            findings.append(f"{symbol}: {outliers}, the first one {first['move']} at {first['time']}")
        if symbol_check.stale_runs:
            first = symbol_check.stale_runs[0]
            findings.append(f"{symbol}: the price repeats for {first['bars']} bars from {first['time']}")
    return findings
