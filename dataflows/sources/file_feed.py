"""File feed: CSV and Parquet files of bars as time slices, one per open interval of the calendar, with the tape's other
records (`tape/`).

Memory does not grow with the number of rows, except for files grouped by symbol (`merge.py`). The output does not
depend on the order of the file names, on block sizes, or on how often the feed is stopped and resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dataflows.sources.bar_files import list_files, open_table
from dataflows.sources.blocks import BarTable, Block, SymbolTable
from dataflows.sources.catalog.catalog_paths import with_catalog_interval
from dataflows.sources.feed_messages import (
    FeedCounts,
    describe_tape,
    file_names,
    no_usable_row_message,
    row_warnings,
)
from dataflows.sources.feed_scan import FeedScan, scan_files, scan_settings
from dataflows.sources.merge import FileMerge, PlacedBadRow, RowWindow
from dataflows.sources.row_times import Ints
from dataflows.sources.rows import RowRules
from dataflows.sources.tape import Tape
from dataflows.sources.trading_calendar import TradingCalendar
from operators.bar_completion import DAY_S, FeedSettings, FileSessions, Minute, MinuteCompletion, interval_text
from operators.history_bars import History
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import Bar, CorporateAction, DeadLetter, Record

__all__ = ["FeedCounts", "FeedSettings", "FileFeed"]

STATE_VERSION = 1
STAGE = "market_data"
EARLIER_BARS: tuple[int, FileSessions] = (60, "extended")
BUFFER_BYTES = 4 * 1024 * 1024  # of text read ahead, over all files
CHUNK_BYTES_MIN, CHUNK_BYTES_MAX = 16 * 1024, 1024 * 1024
CONVERTED_ROWS_MAX = 4096  # rows turned into Python objects at a time
FileHistory = Callable[[Minute, Sequence[Record], FeedSettings], list[History]]
"""Returns the bars and trades before the first minute, given its tape records and the settings of the feed."""
BarFields = tuple[str, float, float, float, float, float]
VOLUME = 5  # position in BarFields


@dataclass
class _MinuteGroup:
    """The rows of one minute, with bad and excluded rows found since the previous minute that has rows.

    `has_no_volume`: whether rows with volume 0, which are not trades, can be among them.
    """

    open_ns: int
    rows: list[BarFields]
    has_no_volume: bool
    bad_rows: list[PlacedBadRow]
    closed: int
    left_out: int


class FileFeed:
    """Time slices of bar files: `for time_slice in FileFeed(paths, FeedSettings())`.

    `paths` are files, folders whose CSV and Parquet files are read, or `catalog:SPY,AAPL`. A time slice at `ts_ns`
    holds the records of `tape` up to `ts_ns`, then the bars that opened at `ts_ns` - interval in order of symbol, then
    their dead letters. The first and last time slices are those of the first and last row in a session. Raises BadInput
    if a file is missing or has unknown columns and, at the first time slice, if no row is usable.

    With `history` and a start, the first time slice also holds the bars before the start. With `renamed_history`, the
    time slice with the first bar of a renamed symbol also holds the bars of its old symbol.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        settings: FeedSettings | None = None,
        tape: Tape | None = None,
        scan: FeedScan | None = None,
        history: FileHistory | None = None,
        renamed_history: FileHistory | None = None,
    ) -> None:
        self._unresolved, self._tape = with_catalog_interval(settings or FeedSettings(), paths), tape
        self._history, self._renamed_history = history, renamed_history
        self._paths = list_files(paths, self._unresolved.interval_s)
        self._tables: list[BarTable] = []  # opened for the first time slice; the scan has opened all files before
        self.scan = scan or scan_files(self._open_tables(scan_settings(self._unresolved)), self._unresolved)
        self._use(self.scan.resolve(self._unresolved))
        self._completion = MinuteCompletion()
        self._last_ns = 0
        self._new_names: set[str] = set()  # of corporate actions
        self._groups: Iterator[_MinuteGroup] | None = None
        self._group: _MinuteGroup | None = None
        self.counts = FeedCounts()
        self.finished = False
        self._first_rejected: str | None = None
        self._group_ns = -1  # open of the last emitted minute with rows

    def _open_tables(self, settings: FeedSettings) -> list[BarTable]:
        rules, self._symbols = RowRules(settings), SymbolTable()
        chunk_bytes = max(CHUNK_BYTES_MIN, min(CHUNK_BYTES_MAX, BUFFER_BYTES // len(self._paths)))
        return [open_table(path, rules, self._symbols, chunk_bytes, settings.symbol) for path in self._paths]

    def _use(self, settings: FeedSettings) -> None:
        """Read with these settings, whose interval and session are known."""
        self.settings = settings
        assert settings.interval_s is not None and settings.session != "auto", "FeedScan.resolve() sets both"
        self.interval_ns = settings.interval_s * 1_000_000_000
        self._calendar = TradingCalendar(settings.calendar, settings.session)

    def __iter__(self) -> Iterator[TimeSlice]:
        return self

    def __next__(self) -> TimeSlice:
        if self._groups is None:
            self._groups = self._read_groups()
            self._group = next(self._groups, None)
            if self._group is not None:
                first_ns = self._last_ns or self._group.open_ns
                self._minutes = self._calendar.minutes(first_ns, self.interval_ns)
        group = self._group
        if group is None:
            self.finished = True
            raise StopIteration
        minute = next(self._minutes)
        tape_records, tape_dead_letters = self._read_tape_records(minute)
        is_start = not self._last_ns and self.settings.start is not None
        earlier = [] if self._history is None or not is_start else self._history(minute, tape_records, self.settings)
        if minute.open_ns < group.open_ns:
            bars = self._completion.complete(minute, ())
            records: list[Record] = [*earlier, *bars]
            self._count(len(bars), 0)
        else:
            assert minute.open_ns == group.open_ns, f"rows at {group.open_ns} are outside every minute of the calendar"
            rows = group.rows
            if group.has_no_volume:
                rows = [row for row in rows if row[VOLUME]]
                self.counts.no_volume += len(group.rows) - len(rows)
            bars = self._completion.complete(minute, rows)
            if self._new_names and not is_start:
                earlier = self._history_of_new_names(minute, tape_records, bars)
            records = [*earlier, *bars]
            self._count(len(bars), len(rows), group)
            if group.bad_rows:
                records += [
                    self._dead_letter(bad_row)
                    for bad_row in sorted(group.bad_rows, key=lambda placed: (placed.file, placed.row.line))
                ]
            self._group_ns = group.open_ns
            self._group = next(self._groups, None)
        if tape_records or tape_dead_letters:
            records = [*tape_records, *records, *tape_dead_letters]
        self._last_ns = minute.ts_ns
        return TimeSlice(minute.ts_ns, records)

    def _history_of_new_names(
        self, minute: Minute, tape_records: Sequence[Record], bars: Sequence[Bar]
    ) -> list[History]:
        """Return the bars and trades of the old symbols, if these bars contain the first one of a renamed symbol."""
        begun = {bar.symbol for bar in bars if bar.seq == 1 and bar.symbol in self._new_names}
        if not begun or self._renamed_history is None:
            return []
        return [one for one in self._renamed_history(minute, tape_records, self.settings) if one.symbol in begun]

    def _read_tape_records(self, minute: Minute) -> tuple[list[Record], list[DeadLetter]]:
        """Return the tape's records of the minute, and apply its corporate actions to the bars without a trade."""
        if self._tape is None:
            return [], []
        tape_records, dead_letters = self._tape.pop_until(minute.ts_ns, minute.open_ns, self._last_ns)
        self.counts.others += len(tape_records)
        self.counts.dead += len(dead_letters)
        self._completion.apply_actions(tape_records, minute.trading_day)
        if self._renamed_history is not None:
            self._new_names |= {record.new_symbol for record in tape_records if type(record) is CorporateAction} - {""}
        return tape_records, dead_letters

    def take(self, count: int) -> list[TimeSlice]:
        """Return the next time slices, at most `count`; none once `finished`."""
        time_slices = list(islice(self, count))
        self.finished = self.finished or self._group is None
        return time_slices

    def due_ns(self) -> int | None:
        """Return None: all time slices of a file are due at once."""
        return None

    @property
    def share_read(self) -> float:
        """Share of the files that was read, 0 to 1, slightly ahead of the emitted time slices."""
        return sum(table.share_read for table in self._tables) / len(self._paths)

    @property
    def last_closes(self) -> dict[str, float]:
        """The last close of each symbol that has traded so far."""
        return {symbol: close for symbol, (_, close) in self._completion.snapshot()["symbols"].items()}

    def warnings(self) -> list[str]:
        """Return what makes the results of a finished run over these files doubtful, one sentence each."""
        lines = row_warnings(self.counts, self._first_rejected, self.settings, self.scan)
        return [*lines, *self.scan.zone_warnings(self.settings)]

    def state(self) -> dict[str, Any]:
        """Return the position after the last emitted time slice as plain data, with one small entry per symbol."""
        state = {
            "v": STATE_VERSION,
            "files": [path.name for path in self._paths],
            "last_ns": self._last_ns,
            "group_ns": self._group_ns,
            "minutes": self._completion.snapshot(),
            "counts": self._counts_state(),
            "tape": None if self._tape is None else self._tape.state(),
        }
        if self._new_names:
            state["new_names"] = sorted(self._new_names)
        bars = (self.settings.interval_s, self.settings.session)
        # States of earlier releases have no entry: they recognized neither the interval nor the session.
        return state if bars == EARLIER_BARS else state | {"bars": bars}

    def _counts_state(self) -> dict[str, int]:
        """Return the counts; one that earlier releases do not have is left out while it is 0."""
        counts = asdict(self.counts)
        return counts if counts["no_volume"] else {name: count for name, count in counts.items() if name != "no_volume"}

    def resume(self, state: dict[str, Any] | None) -> FileFeed:
        """Continue after the time slice at which `state()` was called; the files are read again up to there."""
        if state is None:
            return self
        assert state["v"] == STATE_VERSION, f"file feed state of version {state['v']}, expected {STATE_VERSION}"
        assert self._groups is None, "resume() must precede the first time slice"
        names = [path.name for path in self._paths]
        if state["files"] != names:
            raise BadInput(f"the feed was stopped with files {state['files']} and cannot continue with {names}")
        self._continue_with(state)
        tape = state.get("tape")  # states of releases without tapes have no such entry
        if (tape is None) != (self._tape is None):
            raise BadInput(
                f"the feed was stopped {describe_tape(tape is not None)} and cannot continue "
                f"{describe_tape(tape is None)}"
            )
        if self._tape is not None and tape is not None:
            self._tape.resume(tape, state["last_ns"])
        self._last_ns, self._group_ns = state["last_ns"], state["group_ns"]
        self._completion.restore(state["minutes"])
        self._new_names = set(state.get("new_names", ()))
        self.counts = FeedCounts(**state["counts"])
        return self

    def _continue_with(self, state: dict[str, Any]) -> None:
        """Use the interval and session of the stopped feed, so that the rest of the tape fits to what was emitted."""
        unresolved = self._unresolved
        set_bars = (
            unresolved.interval_s or EARLIER_BARS[0],
            EARLIER_BARS[1] if unresolved.session == "auto" else unresolved.session,
        )
        interval_s, session = state.get("bars", set_bars)
        if unresolved.session not in ("auto", session) or unresolved.interval_s not in (None, interval_s):
            raise BadInput(
                f"the feed was stopped with bars of {interval_text(interval_s)} of the session {session}; continue "
                "with these settings or with another PLATFORM_HOME"
            )
        settings = replace(self.settings, bar_interval=interval_text(interval_s), session=session)
        if settings != self.settings:
            self._use(settings)

    def _count(self, bars: int, traded: int, group: _MinuteGroup | None = None) -> None:
        counts = self.counts
        counts.ticks += 1
        counts.bars += bars
        counts.no_trade_bars += bars - traded
        if group is not None:
            counts.dead += len(group.bad_rows)
            counts.closed += group.closed
            counts.left_out += group.left_out

    def _dead_letter(self, bad_row: PlacedBadRow) -> DeadLetter:
        name = self._paths[bad_row.file].name
        topic = f"file:{name}"
        if self._first_rejected is None:
            self._first_rejected = f"line {bad_row.row.line} of {name}: {bad_row.row.reason}"
        return DeadLetter(
            topic=topic,
            partition=0,
            offset=bad_row.row.line,
            stage=STAGE,
            ts_ns=self._last_ns,
            reason=bad_row.row.reason,
            schema_id=None,
            raw=bad_row.row.raw,
        )

    def _read_groups(self) -> Iterator[_MinuteGroup]:
        """Yield minutes with rows after the last emitted one. One is delayed: it takes the bad rows that follow it."""
        # Rows of one day may have different times of day, so the order of their days is not that of their times.
        is_daily = self.settings.interval_s == DAY_S
        are_ordered = [scan.is_ordered and not is_daily for scan in self.scan.files]
        self._tables = self._open_tables(self.settings)
        merge = FileMerge(self._tables, self._symbols, are_ordered)
        previous: _MinuteGroup | None = None
        pending_bad_rows: list[PlacedBadRow] = []
        closed = left_out = 0
        for window in merge.windows():
            open_block, closed_ns, left_out_ns, bad_rows = self._select_rows(window)
            pending_bad_rows += bad_rows
            closed, left_out = closed + len(closed_ns), left_out + len(left_out_ns)
            for group in self._group_by_minute(open_block):
                if previous is not None:
                    yield previous
                group_open_ns = group.open_ns
                # Windows are in order of time, so only rows of this window can be after the group.
                behind_group = _count_after(closed_ns, group_open_ns), _count_after(left_out_ns, group_open_ns)
                group.closed, group.left_out = closed - behind_group[0], left_out - behind_group[1]
                closed, left_out = behind_group
                if pending_bad_rows:
                    group.bad_rows = [row for row in pending_bad_rows if row.place_ns <= group_open_ns]
                    pending_bad_rows = [row for row in pending_bad_rows if row.place_ns > group_open_ns]
                previous = group
        self._require_volume(previous)
        if previous is not None:
            previous.closed, previous.left_out = previous.closed + closed, previous.left_out + left_out
            previous.bad_rows += pending_bad_rows + [
                PlacedBadRow(previous.open_ns, file, row) for file, row in merge.unplaced
            ]
            yield previous
        elif not self._last_ns:
            first_bad_row = next(iter([*((row.file, row.row) for row in pending_bad_rows), *merge.unplaced]), None)
            bad_row = None
            if first_bad_row is not None:
                file, row = first_bad_row
                bad_row = f"the first bad row is line {row.line} of {self._paths[file].name}: {row.reason}"
            found = no_usable_row_message(self._paths, self.settings, self.scan, closed + left_out, bad_row)
            raise BadInput(found)

    def _require_volume(self, last: _MinuteGroup | None) -> None:
        """Raise BadInput if there were rows, and all of them have volume 0."""
        if last is not None and not self.last_closes and last.has_no_volume and not any(r[VOLUME] for r in last.rows):
            raise BadInput(
                f"every row in {file_names(self._paths)} has volume 0, so that nothing traded; for a vendor without "
                "volume, set market_data.files.volume (--volume) to none"
            )

    def _select_rows(self, window: RowWindow) -> tuple[Block, Ints, Ints, list[PlacedBadRow]]:
        """Return `(rows of bars, opens of closed rows, opens of excluded rows, bad rows)` not yet emitted."""
        block, settings = window.block, self.settings
        from_ns = max(self._group_ns + 1, settings.start_ns or 0)
        to_ns = settings.end_ns if settings.end_ns is not None else 1 << 62
        selected = (block.times >= from_ns) & (block.times < to_ns)
        if settings.symbols is not None:
            symbol_selected = np.array([name in settings.symbols for name in self._symbols.names] or [False], np.bool_)
            selected &= symbol_selected[block.codes]
        if not selected.all():
            block = block.select(selected)
        is_open, left_out = self._calendar.classify(block.times)
        bad_rows = [row for row in window.bad_rows if from_ns <= row.place_ns < to_ns]
        open_rows = block if is_open.all() else block.select(is_open)
        return open_rows, block.times[~(is_open | left_out)], block.times[left_out], bad_rows

    def _group_by_minute(self, block: Block) -> Iterator[_MinuteGroup]:
        """Group rows by minute; convert them to Python objects a few thousand at a time to bound memory."""
        if not len(block.times):
            return
        names = self._symbols.names
        has_no_volume = self.settings.volume == "reported" and not block.values[:, -1].all()
        starts = np.flatnonzero(np.diff(block.times, prepend=-1)).tolist()
        opens = block.times[starts].tolist()
        ends = [*starts[1:], len(block.times)]
        first = 0
        rows: list[BarFields] = []
        converted_to = 0
        for open_ns, start, end in zip(opens, starts, ends, strict=True):
            if end > converted_to:
                first, converted_to = start, max(end, min(start + CONVERTED_ROWS_MAX, len(block.times)))
                symbols = [names[code] for code in block.codes[first:converted_to].tolist()]
                rows = list(zip(symbols, *block.values[first:converted_to].T.tolist(), strict=True))
            yield _MinuteGroup(
                open_ns=open_ns,
                rows=rows[start - first : end - first],
                has_no_volume=has_no_volume,
                bad_rows=[],
                closed=0,
                left_out=0,
            )


def _count_after(times: Ints, time_ns: int) -> int:
    return int((times > time_ns).sum()) if len(times) else 0
