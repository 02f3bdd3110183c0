"""Merge several files of bars into one stream ordered by time, with memory that does not grow with their length.

Each file is read block by block. All rows before the earliest time that any file may still deliver form a complete
*window*, sorted by (time, symbol). A file that is not ordered by time, such as one grouped by symbol or with the newest
row first, is read whole and sorted instead, at about 150 bytes per row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dataflows.sources.blocks import BadRow, BarTable, Block, Codes, SymbolTable, join
from dataflows.sources.row_times import Ints, Mask, iso
from schemas.errors import BadInput


class PlacedBadRow(NamedTuple):
    """A bad row with its place in time: that of the previous good row in its file, or else of the first good one."""

    place_ns: int
    file: int
    row: BadRow


class RowWindow(NamedTuple):
    """Rows of all files, sorted by (time, symbol) without duplicates; `bad_rows` sorted by (place, file, line)."""

    block: Block
    bad_rows: list[PlacedBadRow]


class _FileStream:
    """One file's good rows in order of time, buffered, and its bad rows with their places."""

    def __init__(self, table: BarTable, file_index: int, is_ordered: bool) -> None:
        self._table, self._file_index, self._is_ordered = table, file_index, is_ordered
        self._blocks = table.blocks()
        self._last_time_ns: int | None = None
        self._unplaced: list[BadRow] = []
        self.buffer = join([])
        self.bad_rows: list[PlacedBadRow] = []
        self.ended = False

    def load(self) -> None:
        """Load at least one more good row into the buffer, or reach the end."""
        blocks = [self.buffer]
        while not self.ended and (len(blocks) == 1 or not self._is_ordered):
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
                break
            if self._is_ordered and len(block.times):
                self._check_order(block.times)
            self._place_bad_rows(block)
            if len(block.times):
                blocks.append(block)
        self.buffer = join([block for block in blocks if len(block.times)])
        if not self._is_ordered:
            self.buffer = self.buffer.select(np.argsort(self.buffer.times, kind="stable"))

    def _check_order(self, times: Ints) -> None:
        after = self._last_time_ns or 0
        if int(times[0]) < after or bool((np.diff(times) < 0).any()):
            raise BadInput(f"file {self._table.path} changed while it was read")

    def _place_bad_rows(self, block: Block) -> None:
        """Assign a place to the block's bad rows; those before the first good row of the file wait for it."""
        bad_rows = [*self._unplaced, *sorted(self._with_raw_text(block.bad_rows))]
        last_time_ns, times = self._last_time_ns, block.times
        if len(times):
            self._last_time_ns = int(times[-1])
        elif last_time_ns is None:
            self._unplaced = bad_rows
            return
        self._unplaced = []
        positions = np.searchsorted(block.lines, [row.line for row in bad_rows]) - 1
        for row, position in zip(bad_rows, positions.tolist(), strict=True):
            first_ns = int(times[0]) if last_time_ns is None else last_time_ns
            self.bad_rows.append(
                PlacedBadRow(int(times[position]) if position >= 0 else first_ns, self._file_index, row)
            )

    def _with_raw_text(self, bad_rows: list[BadRow]) -> list[BadRow]:
        missing = [row.line for row in bad_rows if not row.raw]
        texts = self._table.raw_lines(missing) if missing else {}
        return [row._replace(raw=texts[row.line]) if row.line in texts else row for row in bad_rows]

    def unplaced_rows(self) -> list[BadRow]:
        """After the end, return the bad rows of a file without any good row."""
        return self._unplaced

    def pop_before(self, horizon_ns: int | None) -> tuple[Block, list[PlacedBadRow]]:
        """Remove and return all rows before the horizon, or all rows if there is none."""
        buffer, bad_rows = self.buffer, self.bad_rows
        if horizon_ns is None:
            self.buffer, self.bad_rows = join([]), []
            return buffer, bad_rows
        end = int(np.searchsorted(buffer.times, horizon_ns))
        self.buffer = buffer.select(slice(end, None))
        self.bad_rows = [row for row in bad_rows if row.place_ns >= horizon_ns]
        return buffer.select(slice(0, end)), [row for row in bad_rows if row.place_ns < horizon_ns]


class FileMerge:
    """The windows of several files. At the end, `unplaced` holds (file, row) of files without any good row."""

    def __init__(self, tables: list[BarTable], symbols: SymbolTable, are_ordered: list[bool]) -> None:
        self._tables, self._symbols, self._are_ordered = tables, symbols, are_ordered
        self.unplaced: list[tuple[int, BadRow]] = []

    def windows(self) -> Iterator[RowWindow]:
        streams = [
            _FileStream(table, file_index, is_ordered)
            for file_index, (table, is_ordered) in enumerate(zip(self._tables, self._are_ordered, strict=True))
        ]
        while True:
            for stream in streams:
                if not stream.ended and not len(stream.buffer.times):
                    stream.load()
            unfinished = [stream for stream in streams if not stream.ended]
            # A file may continue with rows at the time of its last one, so the horizon itself is not complete.
            horizon_ns = min((int(stream.buffer.times[-1]) for stream in unfinished), default=None)
            parts = [stream.pop_before(horizon_ns) for stream in streams]
            if not any(len(block.times) for block, _ in parts):
                if horizon_ns is None:
                    break
                for stream in unfinished:
                    if int(stream.buffer.times[-1]) == horizon_ns:
                        stream.load()
            yield self._window(parts)
        self.unplaced = [
            (file_index, row) for file_index, stream in enumerate(streams) for row in stream.unplaced_rows()
        ]

    def _window(self, parts: list[tuple[Block, list[PlacedBadRow]]]) -> RowWindow:
        blocks = [(file_index, block) for file_index, (block, _) in enumerate(parts) if len(block.times)]
        merged = join([block for _, block in blocks])
        bad_rows = [row for _, rows in parts for row in rows]
        ranks = self._symbols.ranks()[merged.codes] if len(merged.times) else merged.codes
        order = np.lexsort((ranks, merged.times))  # stable: among equal rows the first file's comes first
        files = np.concatenate([np.full(len(block.times), file_index) for file_index, block in blocks] or [ranks])[
            order
        ]
        merged = merged.select(order)
        repeated = _repeats_previous(merged.times, merged.codes)
        if repeated.any():
            in_same_file = repeated & (files == np.roll(files, 1))
            bad_rows += self._duplicate_rows(merged, files, in_same_file, np.flatnonzero(repeated).tolist())
            merged = merged.select(~repeated)
        return RowWindow(merged, sorted(bad_rows))

    def _duplicate_rows(self, block: Block, files: Codes, in_same_file: Mask, rows: list[int]) -> list[PlacedBadRow]:
        duplicates = []
        for file in sorted({int(files[index]) for index in rows}):
            rows_in_file = [index for index in rows if files[index] == file]
            texts = self._tables[file].raw_lines([int(block.lines[index]) for index in rows_in_file])
            for index in rows_in_file:
                time, name, line = (
                    int(block.times[index]),
                    self._symbols.names[block.codes[index]],
                    int(block.lines[index]),
                )
                reason = f"field time must not repeat {iso(time)} of {name} in another file"
                if in_same_file[index]:
                    reason = f"field time must be after {iso(time)} of {name}, found {iso(time)}"
                duplicates.append(PlacedBadRow(time, file, BadRow(line, reason, texts.get(line, b""))))
        return duplicates


def _repeats_previous(times: Ints, codes: Codes) -> Mask:
    repeated = np.zeros(len(times), np.bool_)
    repeated[1:] = (times[1:] == times[:-1]) & (codes[1:] == codes[:-1])
    return repeated
