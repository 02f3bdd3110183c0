"""Several files of bars as one stream ordered by time, with memory that does not grow with their length.

Each file is read block by block. What lies before the earliest time that some file may still bring is complete over all
files: that is a *window*, sorted by (time, symbol). A file with several symbols that is grouped by symbol instead of
ordered by time cannot be read that way: it is read whole and sorted, about 150 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dataflows.sources.blocks import BadRow, Block, Codes, SymbolTable, Table, join
from dataflows.sources.rows import Ints, Mask, iso


class PlacedBadRow(NamedTuple):
    """A bad row with its place in time: that of the good row before it in its file, or else of the first good one."""

    place_ns: int
    file: int
    row: BadRow


class Window(NamedTuple):
    """Rows of all files, sorted by (time, symbol), one a (time, symbol); `bad` sorted by (place, file, line)."""

    block: Block
    bad: list[PlacedBadRow]


class _Order:
    """Each symbol's last time within one file."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._last: dict[int, int] = {}
        self._file_last = -1
        self.goes_back = False  # from one symbol to another: the file is not ordered by time

    def check(self, block: Block) -> Block:
        """The rows in order; the others are among its bad rows."""
        times, codes = block.times, block.codes
        if not len(times):
            return block
        good, after = self._by_symbol(times, codes)
        kept = block if good.all() else block.take(good, list(block.bad))
        if len(kept.times):
            self.goes_back |= int(kept.times[0]) < self._file_last or bool((np.diff(kept.times) < 0).any())
            self._file_last = int(kept.times[-1])
        for at in np.flatnonzero(~good).tolist():
            name = self._names[codes[at]]
            reason = f"field time must be after {iso(int(after[at]))} of {name}, found {iso(int(times[at]))}"
            kept.bad.append(BadRow(int(block.lines[at]), reason, b""))
        return kept

    def _by_symbol(self, times: Ints, codes: Codes) -> tuple[Mask, Ints]:
        """`(later than all before of its symbol, the latest of those)`."""
        code = int(codes[0])
        if (codes == code).all() and times[0] > self._last.get(code, -1) and (np.diff(times) > 0).all():
            self._last[code] = int(times[-1])
            return np.ones(len(times), np.bool_), times
        after = np.empty_like(times)
        by_symbol = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[by_symbol], prepend=-1))
        for rows in np.split(by_symbol, starts[1:]):
            code = int(codes[rows[0]])
            latest = np.maximum.accumulate(np.concatenate(([self._last.get(code, -1)], times[rows])))
            after[rows] = latest[:-1]
            self._last[code] = int(latest[-1])
        return times > after, after


class _FileStream:
    """One file's good rows in order of time, buffered, and its bad rows with their places."""

    def __init__(self, table: Table, number: int, names: list[str]) -> None:
        self._table, self._number, self._names = table, number, names
        self._grouped = not table.has_one_symbol() and self._is_grouped()
        self._order = _Order(names)
        self._blocks = table.blocks()
        self._last_time: int | None = None
        self._unplaced: list[BadRow] = []
        self.buffer = join([])
        self.bad: list[PlacedBadRow] = []
        self.ended = False

    def _is_grouped(self) -> bool:
        """One reading in advance, for files with several symbols only: does time go back between symbols?"""
        order = _Order(self._names)
        for block in self._table.blocks():
            order.check(block)
            if order.goes_back:
                return True
        return False

    def load(self) -> None:
        """Bring at least one more good row into the buffer, or reach the end."""
        blocks = [self.buffer]
        while not self.ended and (len(blocks) == 1 or self._grouped):
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
                break
            checked = self._order.check(block)
            assert self._grouped or not self._order.goes_back, f"{self._table.path} changed while it was read"
            self._place(checked)
            if len(checked.times):
                blocks.append(checked)
        self.buffer = join([block for block in blocks if len(block.times)])
        if self._grouped:
            self.buffer = self.buffer.take(np.argsort(self.buffer.times, kind="stable"))

    def _place(self, block: Block) -> None:
        """Give the block's bad rows their place; those before the first good row of the file wait for it."""
        bad, before, times = [*self._unplaced, *sorted(self._with_text(block.bad))], self._last_time, block.times
        if len(times):
            self._last_time = int(times[-1])
        elif before is None:
            self._unplaced = bad
            return
        self._unplaced = []
        places = np.searchsorted(block.lines, [row.line for row in bad]) - 1
        for row, at in zip(bad, places.tolist(), strict=True):
            first = int(times[0]) if before is None else before
            self.bad.append(PlacedBadRow(int(times[at]) if at >= 0 else first, self._number, row))

    def _with_text(self, bad: list[BadRow]) -> list[BadRow]:
        missing = [row.line for row in bad if not row.raw]
        texts = self._table.raw(missing) if missing else {}
        return [row._replace(raw=texts[row.line]) if row.line in texts else row for row in bad]

    def lost(self) -> list[BadRow]:
        """After the end: bad rows of a file that had no good row to place them by."""
        return self._unplaced

    def before(self, horizon_ns: int | None) -> tuple[Block, list[PlacedBadRow]]:
        """Take out what lies before the horizon, all if there is none."""
        buffer, bad = self.buffer, self.bad
        if horizon_ns is None:
            self.buffer, self.bad = join([]), []
            return buffer, bad
        cut = int(np.searchsorted(buffer.times, horizon_ns))
        self.buffer = buffer.take(slice(cut, None))
        self.bad = [row for row in bad if row.place_ns >= horizon_ns]
        return buffer.take(slice(0, cut)), [row for row in bad if row.place_ns < horizon_ns]


class Merge:
    """The windows of several files. `lost` are (file, row) of files without any good row, known at the end."""

    def __init__(self, tables: list[Table], symbols: SymbolTable) -> None:
        self._tables, self._symbols = tables, symbols
        self.lost: list[tuple[int, BadRow]] = []

    def windows(self) -> Iterator[Window]:
        streams = [_FileStream(table, at, self._symbols.names) for at, table in enumerate(self._tables)]
        while True:
            for stream in streams:
                if not stream.ended and not len(stream.buffer.times):
                    stream.load()
            waiting = [stream for stream in streams if not stream.ended]
            # A file may go on with rows at the very time of its last one, so the horizon itself is not complete.
            horizon = min((int(stream.buffer.times[-1]) for stream in waiting), default=None)
            parts = [stream.before(horizon) for stream in streams]
            if not any(len(block.times) for block, _ in parts):
                if horizon is None:
                    break
                for stream in waiting:
                    if int(stream.buffer.times[-1]) == horizon:
                        stream.load()
            yield self._window(parts)
        self.lost = [(at, row) for at, stream in enumerate(streams) for row in stream.lost()]

    def _window(self, parts: list[tuple[Block, list[PlacedBadRow]]]) -> Window:
        blocks = [(at, block) for at, (block, _) in enumerate(parts) if len(block.times)]
        merged = join([block for _, block in blocks])
        bad = [row for _, rows in parts for row in rows]
        ranks = self._symbols.ranks()[merged.codes] if len(merged.times) else merged.codes
        order = np.lexsort((ranks, merged.times))  # stable: of equal ones the first file's comes first
        files = np.concatenate([np.full(len(block.times), at) for at, block in blocks] or [ranks])[order]
        merged = merged.take(order)
        again = _same_as_before(merged.times, merged.codes)
        if again.any():
            bad += self._repeats(merged, files, np.flatnonzero(again).tolist())
            merged = merged.take(~again)
        return Window(merged, sorted(bad))

    def _repeats(self, block: Block, files: Codes, rows: list[int]) -> list[PlacedBadRow]:
        found = []
        for file in sorted({int(files[at]) for at in rows}):
            here = [at for at in rows if files[at] == file]
            texts = self._tables[file].raw([int(block.lines[at]) for at in here])
            for at in here:
                time, name, line = int(block.times[at]), self._symbols.names[block.codes[at]], int(block.lines[at])
                reason = f"field time must not repeat {iso(time)} of {name} in another file"
                found.append(PlacedBadRow(time, file, BadRow(line, reason, texts.get(line, b""))))
        return found


def _same_as_before(times: Ints, codes: Codes) -> Mask:
    again = np.zeros(len(times), np.bool_)
    again[1:] = (times[1:] == times[:-1]) & (codes[1:] == codes[:-1])
    return again
