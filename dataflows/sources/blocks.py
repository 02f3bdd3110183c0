"""Blocks of rows: some rows of a file as columns, with its bad rows separate, and their conversion from Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataflows.sources.row_times import Ints, Mask, epochs_ns
from dataflows.sources.rows import Floats, GoodRow, RowRules

Codes = npt.NDArray[np.int32]


class BadRow(NamedTuple):
    """A row that breaks a rule. `line` is 1-based: of the file with its header for CSV, of the rows for Parquet."""

    line: int
    reason: str
    raw: bytes


@dataclass
class Block:
    """Some rows of a file, in file order. `values` has FIELDS as columns; `codes` index into the `SymbolTable`."""

    times: Ints  # each bar's open, ns UTC
    codes: Codes
    lines: Ints
    values: Floats
    bad_rows: list[BadRow] = field(default_factory=list)

    def select(self, rows: Any, bad_rows: list[BadRow] | None = None) -> Block:
        return Block(
            times=self.times[rows],
            codes=self.codes[rows],
            lines=self.lines[rows],
            values=self.values[rows],
            bad_rows=bad_rows or [],
        )


def join(blocks: list[Block]) -> Block:
    """Concatenate blocks."""
    if len(blocks) == 1:
        return blocks[0]
    if not blocks:
        return Block(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int64), np.empty((0, 5)))
    columns = zip(*((b.times, b.codes, b.lines, b.values) for b in blocks), strict=True)
    times, codes, lines, values = (np.concatenate(column) for column in columns)
    return Block(
        times=times,
        codes=codes,
        lines=lines,
        values=values,
        bad_rows=[bad for block in blocks for bad in block.bad_rows],
    )


class SymbolTable:
    """Maps symbol names to small integers, for all files of a feed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str, int] = {}

    def code(self, name: str) -> int:
        if name not in self._codes:
            self._codes[name] = len(self.names)
            self.names.append(name)
        return self._codes[name]

    def ranks(self) -> Codes:
        """Return, for each code, its rank in the order of names."""
        ranks = np.empty(len(self.names), np.int32)
        ranks[sorted(range(len(self.names)), key=self.names.__getitem__)] = np.arange(len(self.names), dtype=np.int32)
        return ranks


class BarTable(Protocol):
    """A file of bars that can be read repeatedly."""

    path: Path
    share_read: float
    """Share of the file that `blocks` has returned, 0 to 1. For compressed text it is 0 until the end."""

    @property
    def has_local_times(self) -> bool:
        """Whether a time without a zone was read."""
        ...

    def blocks(self) -> Iterator[Block]:
        """Yield all rows in file order, each in exactly one block, good or bad."""
        ...

    def times(self) -> Iterator[tuple[Ints, Codes]]:
        """Yield the times (ns UTC) and symbols of all rows whose time is usable, without the other columns."""
        ...

    def raw_lines(self, lines: list[int]) -> dict[int, bytes]:
        """Return the text of rows in blocks that were already read."""
        ...


class RowCollector:
    """Checks rows one by one and collects them."""

    def __init__(self, rules: RowRules, symbols: SymbolTable) -> None:
        self._rules, self._symbols = rules, symbols
        self._good_rows: list[tuple[int, int, int, tuple[float, ...]]] = []
        self.bad_rows: list[BadRow] = []

    def add(self, line: int, time: str | int | None, symbol: str, fields: list[Any], raw: bytes) -> None:
        verdict = self._rules.check_row(time, symbol, fields)
        if isinstance(verdict, GoodRow):
            self._good_rows.append((verdict.open_ns, self._symbols.code(verdict.symbol), line, verdict.values))
        else:
            self.bad_rows.append(BadRow(line, verdict, raw))

    def block(self) -> Block:
        if not self._good_rows:
            empty = join([])
            empty.bad_rows = self.bad_rows
            return empty
        times, codes, lines, values = zip(*self._good_rows, strict=True)
        int64, int32 = np.int64, np.int32
        return Block(
            times=np.array(times, int64),
            codes=np.array(codes, int32),
            lines=np.array(lines, int64),
            values=np.array(values),
            bad_rows=self.bad_rows,
        )


def merge_rechecked(block: Block, good: Mask, rechecked: Block) -> Block:
    """Combine the good rows of a block with the rows that a row-by-row check accepted."""
    if good.all() and not len(rechecked.times):
        return block
    result = block.select(good)
    if len(rechecked.times):
        result = join([result, Block(rechecked.times, rechecked.codes, rechecked.lines, rechecked.values)])
        result = result.select(np.argsort(result.lines, kind="stable"))
    result.bad_rows = rechecked.bad_rows
    return result


def times_ns(column: Any, rules: RowRules) -> tuple[Ints, Mask]:
    """Convert typed times of any kind to `(ns UTC, usable)`."""
    usable = _non_null(column)
    arrow_type = column.type
    if pa.types.is_date(arrow_type):
        column, arrow_type = column.cast(pa.timestamp("s")), pa.timestamp("s")
    if pa.types.is_timestamp(arrow_type):
        counts = _to_ints(column)
        times = counts * {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[arrow_type.unit]
        if arrow_type.tz is None:
            rules.times.has_local_times = True
            times, exists = rules.zone.to_utc(times)
            usable &= exists
        return times, usable
    return epochs_ns(_to_ints(column)), usable


def text_times_ns(texts: Any, rules: RowRules) -> tuple[Ints, Mask]:
    """Convert times in the formats of vendors to `(ns UTC, usable)`. Each distinct text is converted once."""
    encoded = texts.dictionary_encode()
    parsed = [rules.parse_time(text or "") for text in encoded.dictionary.to_pylist()]
    in_range = [ns is not None and -(1 << 62) < ns < 1 << 62 for ns in parsed]
    times = np.array([ns if ok else 0 for ns, ok in zip(parsed, in_range, strict=True)] or [0], np.int64)
    indices = _to_ints(encoded.indices)
    return times[indices], np.array(in_range or [False], np.bool_)[indices] & _non_null(encoded)


def _zero_copy_view(column: Any, dtype: Any) -> Any:
    """Return a view of an Arrow array without nulls. (Arrow's own to_numpy() imports pandas, which takes 0.5 s.)"""
    if not len(column):
        return np.empty(0, dtype)
    size = np.dtype(dtype).itemsize
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * size)


def to_floats(column: Any) -> Floats:
    return np.asarray(_zero_copy_view(pc.fill_null(column, float("nan")) if column.null_count else column, np.float64))


def _to_ints(column: Any) -> Ints:
    column = column.cast(pa.int64())
    return np.asarray(_zero_copy_view(pc.fill_null(column, 0) if column.null_count else column, np.int64))


def _non_null(column: Any) -> Mask:
    if not column.null_count:
        return np.ones(len(column), np.bool_)
    return np.asarray(_zero_copy_view(column.is_valid().cast(pa.uint8()), np.uint8).astype(np.bool_))


def symbol_codes(column: Any, symbols: SymbolTable) -> tuple[Codes, Mask]:
    """Return `(codes, name is usable)` of a dictionary-encoded column."""
    names = [(name or "").strip() for name in column.dictionary.to_pylist()]
    usable = np.array([bool(name) and name.isprintable() for name in names] or [False], np.bool_)
    codes = np.array(
        [symbols.code(name) if ok else 0 for name, ok in zip(names, usable, strict=False)] or [0], np.int32
    )
    indices = _to_ints(column.indices)
    return codes[indices], usable[indices] & _non_null(column)
