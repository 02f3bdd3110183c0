"""Check files of bars before a backtest: intervals, gaps, duplicates, outliers, sessions, zone, splits, stale runs.

The rows are read by the feed of the backtest, so that a finding is about what a backtest would see.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import expm1, log
from pathlib import Path
from statistics import median
from typing import Any

from dataflows.sources.bar_files import list_files
from dataflows.sources.feed_scan import FileScan, distance_text
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.row_times import iso
from operators.bar_completion import FeedSettings
from schemas.counted import counted
from schemas.errors import BadInput
from schemas.records import CONTINUOUS, REGULAR, Bar, DeadLetter

EXAMPLES_MAX = 10
OUTLIER_MEDIANS = 20  # a move of more than so many median moves of the symbol
OUTLIER_MOVE_MIN = 0.03
REVERSAL_SHARE = 0.7  # of the move that the next bar takes back
SPLIT_RATIOS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100)
SPLIT_TOLERANCE = 0.04
SPLIT_MOVE_MIN = 0.3
STALE_BARS_MIN = 30
STALE_DAYS_MIN = 5


@dataclass
class SymbolCheck:
    """The findings about one symbol of one file. Prices are those of the file; each list has at most 10 entries."""

    bars: int = 0
    missing: int = 0
    gaps: int = 0
    largest_gap: dict[str, Any] | None = None
    no_volume: int = 0
    sessions: dict[str, int] = field(default_factory=dict)
    days: int = 0
    outliers: list[dict[str, Any]] = field(default_factory=list)
    split_like: list[dict[str, Any]] = field(default_factory=list)
    stale_runs: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class FileCheck:
    """The findings about one file. `error` is set if the file cannot be read; the rest is then empty.

    `intervals` counts the most frequent distances of successive rows. `suspected_zone` is the zone in which clearly
    more rows would lie in the regular session, if their times have none. `findings` lists what should be looked at.
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
    rejected_examples: list[str] = field(default_factory=list)
    session_rows: dict[str, int] = field(default_factory=dict)
    suspected_zone: str | None = None
    symbols: dict[str, SymbolCheck] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def check_files(paths: Sequence[Path], settings: FeedSettings) -> Iterator[FileCheck]:
    """Yield the check of each file; folders stand for their files. Raises BadInput if a path does not exist."""
    for path in list_files(paths):
        yield _check_file(path, settings)


def _check_file(path: Path, settings: FeedSettings) -> FileCheck:
    check = FileCheck(path.name)
    if not path.is_file():
        raise BadInput(f"file {path} does not exist")
    try:
        feed = FileFeed([path], settings)
        _describe_scan(check, feed.scan.files[0])
        check.interval, check.session = feed.settings.bar_interval, feed.settings.session
        is_daily = check.interval == "1d"
        scanners: dict[str, _SymbolScanner] = {}
        for time_slice in feed:
            for record in time_slice.records:
                if type(record) is Bar:
                    if record.symbol not in scanners:
                        scanners[record.symbol] = _SymbolScanner(STALE_DAYS_MIN if is_daily else STALE_BARS_MIN)
                    scanners[record.symbol].add(record)
                elif type(record) is DeadLetter:
                    check.rejected += 1
                    if len(check.rejected_examples) < EXAMPLES_MAX:
                        check.rejected_examples.append(f"line {record.offset}: {record.reason}")
    except BadInput as error:
        check.error = str(error)
        check.findings.append(check.error)
        return check
    check.symbols = {symbol: scanner.finish() for symbol, scanner in sorted(scanners.items())}
    if is_daily:  # a row stands for its day, whatever its time
        check.session_rows = {"REGULAR": feed.counts.bars - feed.counts.no_trade_bars, "closed": feed.counts.closed}
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
    for symbol, found in check.symbols.items():
        if found.split_like:
            first = found.split_like[0]
            findings.append(f"{symbol}: a jump like a split of {first['ratio']} at {first['time']}")
        if found.outliers:
            first = found.outliers[0]
            outliers = counted(len(found.outliers), "outlier", "outliers")
            findings.append(f"{symbol}: {outliers}, the first one {first['move']} at {first['time']}")
        if found.stale_runs:
            first = found.stale_runs[0]
            findings.append(f"{symbol}: the price repeats for {first['bars']} bars from {first['time']}")
    return findings


class _SymbolScanner:
    """Accumulates the check of one symbol, with 16 bytes per bar for the median move."""

    def __init__(self, stale_bars_min: int) -> None:
        self._check = SymbolCheck()
        self._stale_bars_min = stale_bars_min
        self._moves = array("d")
        self._jumps: list[tuple[float, Bar, float]] = []  # (move, bar, move of the next bar)
        self._pending: tuple[float, Bar] | None = None
        self._last: Bar | None = None
        self._gap = 0
        self._gap_start_ns = 0
        self._run = 1
        self._run_start_ns = 0

    def add(self, bar: Bar) -> None:
        check = self._check
        if not bar.traded:
            self._gap_start_ns = self._gap_start_ns if self._gap else bar.open_ns
            self._gap += 1
            return
        check.bars += 1
        check.sessions[bar.session] = check.sessions.get(bar.session, 0) + 1
        check.no_volume += bar.volume == 0
        self._end_gap()
        last = self._last
        if last is None or bar.trading_day != last.trading_day:
            check.days += 1
        if last is not None:
            self._compare(last, bar)
        else:
            self._run_start_ns = bar.open_ns
        self._last = bar

    def _end_gap(self) -> None:
        check = self._check
        if self._gap:
            check.gaps += 1
            check.missing += self._gap
            if check.largest_gap is None or self._gap > check.largest_gap["bars"]:
                check.largest_gap = {"time": iso(self._gap_start_ns), "bars": self._gap}
            self._gap = 0

    def _compare(self, last: Bar, bar: Bar) -> None:
        move = log(bar.close / last.close)
        self._moves.append(abs(move))
        if self._pending is not None:
            self._jumps.append((*self._pending, move))
            self._pending = None
        if abs(move) >= OUTLIER_MOVE_MIN:
            self._pending = (move, bar)
        self._note_split(last, bar)
        is_same = last.close == bar.close == bar.open == bar.high == bar.low
        if is_same:
            self._run += 1
        else:
            self._end_run()
            self._run, self._run_start_ns = 1, bar.open_ns

    def _note_split(self, last: Bar, bar: Bar) -> None:
        """Note a jump between two trading days whose size is close to a usual split ratio."""
        factor = last.close / bar.open
        size = max(factor, 1 / factor)
        if bar.trading_day == last.trading_day or log(size) < SPLIT_MOVE_MIN:
            return
        ratio = min(SPLIT_RATIOS, key=lambda usual: abs(log(size / usual)))
        if abs(log(size / ratio)) <= SPLIT_TOLERANCE and len(self._check.split_like) < EXAMPLES_MAX:
            text = f"{ratio:g}:1" if factor > 1 else f"1:{ratio:g}"
            prices = {"before": last.close, "after": bar.open}
            self._check.split_like.append({"time": iso(bar.open_ns), "ratio": text, **prices})

    def _end_run(self) -> None:
        runs = self._check.stale_runs
        if self._run >= self._stale_bars_min and len(runs) < EXAMPLES_MAX:
            assert self._last is not None, "a run has bars"
            runs.append({"time": iso(self._run_start_ns), "bars": self._run, "price": self._last.close})

    def finish(self) -> SymbolCheck:
        """Return the check. A spike is a move of many median moves that the next bar takes back."""
        self._end_run()
        self._end_gap()
        check = self._check
        typical = median(moves) if (moves := [move for move in self._moves if move]) else 0.0
        for move, bar, next_move in self._jumps:
            is_reversed = move * next_move < 0 and abs(next_move) >= REVERSAL_SHARE * abs(move)
            if is_reversed and abs(move) >= OUTLIER_MEDIANS * typical and len(check.outliers) < EXAMPLES_MAX:
                percent = f"{expm1(move):+.1%}"
                check.outliers.append({"time": iso(bar.open_ns), "price": bar.close, "move": percent})
        return check


def coverage(check: SymbolCheck) -> float | None:
    """Return the share of the open intervals in which the symbol traded, between its first and last bar."""
    total = check.bars + check.missing
    return check.bars / total if total else None


def regular_share(check: SymbolCheck) -> float:
    """Return the share of the bars in the regular session, or on a market around the clock."""
    return sum(check.sessions.get(phase, 0) for phase in (REGULAR, CONTINUOUS)) / check.bars if check.bars else 0.0
