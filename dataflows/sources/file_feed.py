"""File feed: CSV and Parquet files of bars as time slices, one per open interval of the calendar, with the tape's other
records (`tape/`).

Memory does not grow with the number of rows, except for files grouped by symbol (`merge.py`). The output does not
depend on the order of the file names, on block sizes, or on how often the feed is stopped and resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dataflows.sources.bar_files import CSV_ENDINGS, PARQUET_ENDINGS, open_table
from dataflows.sources.blocks import BarTable, Block, SymbolTable
from dataflows.sources.merge import FileMerge, PlacedBadRow, RowWindow
from dataflows.sources.rows import Ints, RowRules
from dataflows.sources.tape import Tape
from dataflows.sources.trading_calendar import TradingCalendar
from operators.bar_completion import FeedSettings, MinuteCompletion
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import DeadLetter, Record

__all__ = ["FeedCounts", "FeedSettings", "FileFeed"]

STATE_VERSION = 1
STAGE = "market_data"
BUFFER_BYTES = 4 * 1024 * 1024  # of text read ahead, over all files
CHUNK_BYTES_MIN, CHUNK_BYTES_MAX = 16 * 1024, 1024 * 1024
CONVERTED_ROWS_MAX = 4096  # rows turned into Python objects at a time
BarFields = tuple[str, float, float, float, float, float]


@dataclass
class _MinuteGroup:
    """The rows of one minute, with bad and excluded rows found since the previous minute that has rows."""

    open_ns: int
    rows: list[BarFields]
    bad_rows: list[PlacedBadRow]
    closed: int
    left_out: int


@dataclass
class FeedCounts:
    """Counts of the rows so far. `bars` counts all bars, `no_trade_bars` those without a trade, `dead` dead letters.

    Rows that are neither bars nor dead letters: `closed` lie outside all sessions (night, weekend, holiday), `left_out`
    in the pre- or post-market with the setting session=regular. Rows excluded by `symbols`, `start` and `end` are not
    counted. `others` counts the tape's records other than bars.
    """

    ticks: int = 0
    bars: int = 0
    no_trade_bars: int = 0
    dead: int = 0
    closed: int = 0
    left_out: int = 0
    others: int = 0


class FileFeed:
    """Time slices of bar files: `for time_slice in FileFeed(paths, FeedSettings())`.

    `paths` are files, or folders whose CSV and Parquet files are read. A time slice at `ts_ns` holds the records of
    `tape` up to `ts_ns`, then the bars that opened at `ts_ns` - interval in order of symbol, then their dead letters.
    The first and last time slices are those of the first and last row in a session. Raises BadInput if a file is
    missing or has unknown columns and, at the first time slice, if no row is usable.
    """

    def __init__(
        self, paths: Sequence[str | Path], settings: FeedSettings | None = None, tape: Tape | None = None
    ) -> None:
        self._settings, self._tape = settings or FeedSettings(), tape
        self._paths = _list_files(paths)
        self.interval_ns = self._settings.interval_ns
        rules, self._symbols = RowRules(self._settings), SymbolTable()
        chunk_bytes = max(CHUNK_BYTES_MIN, min(CHUNK_BYTES_MAX, BUFFER_BYTES // len(self._paths)))
        self._tables: list[BarTable] = [open_table(path, rules, self._symbols, chunk_bytes) for path in self._paths]
        self._calendar = TradingCalendar(self._settings.calendar, self._settings.session)
        self._completion = MinuteCompletion()
        self._last_ns = 0
        self._groups: Iterator[_MinuteGroup] | None = None
        self._group: _MinuteGroup | None = None
        self.counts = FeedCounts()
        self.finished = False
        self._group_ns = -1  # open of the last emitted minute with rows

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
        if minute.open_ns < group.open_ns:
            records: list[Record] = list(self._completion.complete(minute, ()))
            self._count(len(records), 0)
        else:
            assert minute.open_ns == group.open_ns, f"rows at {group.open_ns} are outside every minute of the calendar"
            records = list(self._completion.complete(minute, group.rows))
            self._count(len(records), len(group.rows), group)
            if group.bad_rows:
                records += [
                    self._dead_letter(bad_row)
                    for bad_row in sorted(group.bad_rows, key=lambda placed: (placed.file, placed.row.line))
                ]
            self._group_ns = group.open_ns
            self._group = next(self._groups, None)
        if self._tape is not None:
            tape_records, dead_letters = self._tape.take_until(minute.ts_ns, minute.open_ns, self._last_ns)
            records = [*tape_records, *records, *dead_letters]
            self.counts.others += len(tape_records)
            self.counts.dead += len(dead_letters)
        self._last_ns = minute.ts_ns
        return TimeSlice(minute.ts_ns, records)

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
        return sum(table.share_read for table in self._tables) / len(self._tables)

    def state(self) -> dict[str, Any]:
        """Return the position after the last emitted time slice as plain data, with one small entry per symbol."""
        return {
            "v": STATE_VERSION,
            "files": [path.name for path in self._paths],
            "last_ns": self._last_ns,
            "group_ns": self._group_ns,
            "minutes": self._completion.snapshot(),
            "counts": asdict(self.counts),
            "tape": None if self._tape is None else self._tape.state(),
        }

    def resume(self, state: dict[str, Any] | None) -> FileFeed:
        """Continue after the time slice at which `state()` was called; the files are read again up to there."""
        if state is None:
            return self
        assert state["v"] == STATE_VERSION, f"file feed state of version {state['v']}, expected {STATE_VERSION}"
        assert self._groups is None, "resume() must precede the first time slice"
        names = [path.name for path in self._paths]
        if state["files"] != names:
            raise BadInput(f"the feed was stopped with files {state['files']} and cannot continue with {names}")
        tape = state.get("tape")  # states of releases without tapes have no such entry
        if (tape is None) != (self._tape is None):
            raise BadInput(
                f"the feed was stopped {_tape_description(tape is not None)} and cannot continue "
                f"{_tape_description(tape is None)}"
            )
        if self._tape is not None and tape is not None:
            self._tape.resume(tape, state["last_ns"])
        self._last_ns, self._group_ns = state["last_ns"], state["group_ns"]
        self._completion.restore(state["minutes"])
        self.counts = FeedCounts(**state["counts"])
        return self

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
        topic = f"file:{self._paths[bad_row.file].name}"
        return DeadLetter(topic, 0, bad_row.row.line, STAGE, self._last_ns, bad_row.row.reason, None, bad_row.row.raw)

    def _read_groups(self) -> Iterator[_MinuteGroup]:
        """Yield minutes with rows after the last emitted one. One is delayed: it takes the bad rows that follow it."""
        merge = FileMerge(self._tables, self._symbols)
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
                behind_group = int((closed_ns > group_open_ns).sum()), int((left_out_ns > group_open_ns).sum())
                group.closed, group.left_out = closed - behind_group[0], left_out - behind_group[1]
                closed, left_out = behind_group
                if pending_bad_rows:
                    group.bad_rows = [row for row in pending_bad_rows if row.place_ns <= group_open_ns]
                    pending_bad_rows = [row for row in pending_bad_rows if row.place_ns > group_open_ns]
                previous = group
        if previous is not None:
            previous.closed, previous.left_out = previous.closed + closed, previous.left_out + left_out
            previous.bad_rows += pending_bad_rows + [
                PlacedBadRow(previous.open_ns, file, row) for file, row in merge.unplaced
            ]
            yield previous
        elif not self._last_ns:
            first_bad_row = next(iter([*((row.file, row.row) for row in pending_bad_rows), *merge.unplaced]), None)
            raise BadInput(self._no_usable_row_message(closed, left_out, first_bad_row))

    def _select_rows(self, window: RowWindow) -> tuple[Block, Ints, Ints, list[PlacedBadRow]]:
        """Return `(rows of bars, opens of closed rows, opens of excluded rows, bad rows)` not yet emitted."""
        block, settings = window.block, self._settings
        from_ns = max(self._group_ns + 1, settings.start_ns or 0)
        to_ns = settings.end_ns if settings.end_ns is not None else 1 << 62
        selected = (block.times >= from_ns) & (block.times < to_ns)
        if settings.symbols is not None:
            symbol_selected = np.array([name in settings.symbols for name in self._symbols.names] or [False], np.bool_)
            selected &= symbol_selected[block.codes]
        if not selected.all():
            block = block.take(selected)
        is_open, left_out = self._calendar.classify(block.times)
        bad_rows = [row for row in window.bad_rows if from_ns <= row.place_ns < to_ns]
        open_rows = block if is_open.all() else block.take(is_open)
        return open_rows, block.times[~(is_open | left_out)], block.times[left_out], bad_rows

    def _group_by_minute(self, block: Block) -> Iterator[_MinuteGroup]:
        """Group rows by minute; convert them to Python objects a few thousand at a time to bound memory."""
        if not len(block.times):
            return
        names = self._symbols.names
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
            yield _MinuteGroup(open_ns, rows[start - first : end - first], [], 0, 0)

    def _no_usable_row_message(self, closed: int, left_out: int, bad_row: tuple[int, Any] | None) -> str:
        reason = "no row matches the settings symbols, start and end"
        if closed or left_out:
            reason = (
                f"{closed + left_out} rows lie outside the sessions of calendar {self._settings.calendar} "
                f"({self._settings.session}) and none inside"
            )
        elif bad_row is not None:
            reason = (
                f"the first bad row is line {bad_row[1].line} of {self._paths[bad_row[0]].name}: {bad_row[1].reason}"
            )
        names = ", ".join(path.name for path in self._paths)
        return f"no usable row in {names if len(names) < 100 else f'{len(self._paths)} files'}: {reason}"


def _tape_description(has_tape: bool) -> str:
    return f"{'with' if has_tape else 'without'} files of quotes, reference data, news or fundamentals"


def _list_files(paths: Sequence[str | Path]) -> list[Path]:
    """Return the files, with folders replaced by their files, in an order independent of the caller's."""
    files: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            matches = {
                child for child in path.iterdir() if child.name.lower().endswith((*CSV_ENDINGS, *PARQUET_ENDINGS))
            }
            if not matches:
                raise BadInput(f"folder {path} holds no CSV or Parquet file")
            files |= matches
        else:
            files.add(path)
    if not files:
        raise BadInput("a file feed needs at least one file")
    return sorted(files, key=lambda path: (path.name, str(path)))
