"""Reads a CSV or Parquet file of bars as blocks of columns, bad rows apart, with flat memory.

A chunk of CSV goes through pyarrow. Where that fails, the chunk is halved until the lines that it fails on are few, and
those are judged one by one (`RowRules.judge`); rows that break a rule are judged one by one as well, for the reason.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from dataflows.sources.rows import (
    FIELDS,
    Columns,
    Floats,
    GoodRow,
    Ints,
    Mask,
    RowRules,
    epochs_ns,
    find_columns,
    split_line,
)
from schemas.errors import BadInput

Codes = npt.NDArray[np.int32]
CSV_ENDINGS = (".csv", ".csv.gz", ".txt")
PARQUET_ENDINGS = (".parquet", ".pq")
FEW_LINES = 64
_ZONED = re.compile(r".*\d[T ].*(Z|[+-]\d\d(:?\d\d)?)", re.IGNORECASE)
_INTEGER = re.compile(r"\s*[+-]?\d+\s*")


class BadRow(NamedTuple):
    """A row that breaks a rule. `line` is 1-based: of the file with its header for CSV, of the rows for Parquet."""

    line: int
    reason: str
    raw: bytes


@dataclass
class Block:
    """Some rows of a file in its order: `values` has FIELDS as columns, `codes` are places in the `SymbolTable`."""

    times: Ints  # each bar's open, ns UTC
    codes: Codes
    lines: Ints
    values: Floats
    bad: list[BadRow] = field(default_factory=list)

    def take(self, at: Any, bad: list[BadRow] | None = None) -> Block:
        return Block(self.times[at], self.codes[at], self.lines[at], self.values[at], bad or [])


def join(blocks: list[Block]) -> Block:
    """The blocks behind one another."""
    if len(blocks) == 1:
        return blocks[0]
    if not blocks:
        return Block(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int64), np.empty((0, 5)))
    columns = zip(*((b.times, b.codes, b.lines, b.values) for b in blocks), strict=True)
    times, codes, lines, values = (np.concatenate(column) for column in columns)
    return Block(times, codes, lines, values, [bad for block in blocks for bad in block.bad])


class SymbolTable:
    """Names of symbols by a small number, over all files of a feed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str, int] = {}

    def code(self, name: str) -> int:
        if name not in self._codes:
            self._codes[name] = len(self.names)
            self.names.append(name)
        return self._codes[name]

    def ranks(self) -> Codes:
        """For each code, its place in the order of names."""
        ranks = np.empty(len(self.names), np.int32)
        ranks[sorted(range(len(self.names)), key=self.names.__getitem__)] = np.arange(len(self.names), dtype=np.int32)
        return ranks


class Table(Protocol):
    """A file of bars that can be read again and again."""

    path: Path
    has_symbols: bool

    def blocks(self) -> Iterator[Block]:
        """All rows in the file's order, each in exactly one block, good or bad."""
        ...

    def raw(self, lines: list[int]) -> dict[int, bytes]:
        """The text of rows in blocks that have been read."""
        ...


def open_table(path: Path, rules: RowRules, symbols: SymbolTable, chunk_bytes: int) -> Table:
    """Raises BadInput with one sentence for a file that is missing, of no known kind, or without the columns."""
    name = path.name.lower()
    try:
        if name.endswith(PARQUET_ENDINGS):
            return ParquetTable(path, rules, symbols, max(1024, chunk_bytes // 64))
        if name.endswith(CSV_ENDINGS):
            return CsvTable(path, rules, symbols, chunk_bytes)
    except FileNotFoundError as error:
        raise BadInput(f"file {path} does not exist") from error
    except OSError as error:
        raise BadInput(f"file {path} cannot be read: {error}") from error
    except pa.ArrowInvalid as error:
        raise BadInput(f"file {path} is not Parquet: {str(error).splitlines()[0]}") from error
    raise BadInput(f"file {path} is neither CSV nor Parquet: its name must end in .csv, .csv.gz, .txt or .parquet")


def symbol_of_name(path: Path) -> str:
    """`AAPL` of `AAPL_2013.csv.gz` and of `AAPL.parquet`.

    >>> symbol_of_name(Path("x/BRK.B_2013-10-07.csv"))
    'BRK.B'
    """
    name = path.name
    ending = next((e for e in (*CSV_ENDINGS, *PARQUET_ENDINGS) if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)].split("_")[0]


class _Builder:
    """Judges rows one by one and collects them."""

    def __init__(self, rules: RowRules, symbols: SymbolTable) -> None:
        self._rules, self._symbols = rules, symbols
        self._good: list[tuple[int, int, int, tuple[float, ...]]] = []
        self.bad: list[BadRow] = []

    def add(self, line: int, time: str | int | None, symbol: str, fields: list[Any], raw: bytes) -> None:
        verdict = self._rules.judge(time, symbol, fields)
        if isinstance(verdict, GoodRow):
            self._good.append((verdict.open_ns, self._symbols.code(verdict.symbol), line, verdict.values))
        else:
            self.bad.append(BadRow(line, verdict, raw))

    def block(self) -> Block:
        if not self._good:
            empty = join([])
            empty.bad = self.bad
            return empty
        times, codes, lines, values = zip(*self._good, strict=True)
        int64, int32 = np.int64, np.int32
        return Block(np.array(times, int64), np.array(codes, int32), np.array(lines, int64), np.array(values), self.bad)


def _merged(block: Block, good: Mask, judged: Block) -> Block:
    """The good rows of a block, with rows among the others that turned out good when judged one by one."""
    if good.all() and not len(judged.times):
        return block
    kept = block.take(good)
    if len(judged.times):
        kept = join([kept, Block(judged.times, judged.codes, judged.lines, judged.values)])
        kept = kept.take(np.argsort(kept.lines, kind="stable"))
    kept.bad = judged.bad
    return kept


class CsvTable:
    """CSV with a header line; comma, semicolon or tab; plain or gzip."""

    def __init__(self, path: Path, rules: RowRules, symbols: SymbolTable, chunk_bytes: int) -> None:
        self.path, self._rules, self._symbols, self._chunk_bytes = path, rules, symbols, chunk_bytes
        with self._open() as file:
            header = file.readline().decode("utf-8-sig", errors="replace").rstrip("\r\n")
        self._delimiter = max(",;\t", key=header.count)
        names = split_line(header.encode(), self._delimiter, header.count(self._delimiter) + 1)
        if isinstance(names, str):
            raise BadInput(f"file {path} has no header line that is CSV: {names}")
        self._columns: Columns = find_columns(names, f"file {path}")
        self.has_symbols = self._columns.symbol is not None
        self._file_symbol = symbol_of_name(path)
        self._current = (0, b"")  # the chunk in work and the number of its first line: most asked for by raw()

    def _open(self) -> IO[bytes]:
        return gzip.open(self.path, "rb") if self.path.name.lower().endswith(".gz") else self.path.open("rb")  # type: ignore[return-value]

    def blocks(self) -> Iterator[Block]:
        with self._open() as file:
            file.readline()
            line, rest = 2, b""
            while chunk := file.read(self._chunk_bytes):
                end = chunk.rfind(b"\n") + 1
                if not end:
                    rest += chunk
                    continue
                data, rest = rest + chunk[:end], chunk[end:]
                self._current = (line, data)
                yield self._parse(data, line)
                line += data.count(b"\n")
            if rest:
                self._current = (line, rest)
                yield self._parse(rest, line)

    def raw(self, lines: list[int]) -> dict[int, bytes]:
        wanted, found = set(lines), {}
        first, data = self._current
        if min(lines) >= first:
            texts = data.split(b"\n")
            return {line: texts[line - first].rstrip(b"\r") for line in lines}
        with self._open() as file:
            for number, line in enumerate(file, 1):
                if number in wanted:
                    found[number] = line.rstrip(b"\r\n")
                    if len(found) == len(wanted):
                        break
        return found

    def _parse(self, data: bytes, first_line: int) -> Block:
        """`data` is whole lines. Halved until pyarrow takes it or it is few lines."""
        count = data.count(b"\n") + (not data.endswith(b"\n"))
        block = self._as_columns(data, first_line, count)
        if block is not None:
            return block
        middle = data.find(b"\n", len(data) // 2) + 1
        if count <= FEW_LINES or not 0 < middle < len(data):
            return self._line_by_line(data, first_line, range(count))
        head, tail = data[:middle], data[middle:]
        return join([self._parse(head, first_line), self._parse(tail, first_line + head.count(b"\n"))])

    def _line_by_line(self, data: bytes, first_line: int, wanted: Any) -> Block:
        columns, lines = self._columns, data.split(b"\n")
        builder = _Builder(self._rules, self._symbols)
        for at in wanted:
            raw = lines[at].rstrip(b"\r")
            if not raw.strip():
                continue  # an empty line is no row
            fields = split_line(raw, self._delimiter, len(columns.names))
            if isinstance(fields, str):
                builder.bad.append(BadRow(first_line + at, fields, raw))
                continue
            symbol = self._file_symbol if columns.symbol is None else fields[columns.symbol].strip()
            values = [fields[column] for column in columns.fields]
            builder.add(first_line + at, fields[columns.time], symbol, values, raw)
        return builder.block()

    def _as_columns(self, data: bytes, first_line: int, count: int) -> Block | None:
        """All lines at once; None where pyarrow cannot, or reads another number of rows than there are lines."""
        if data.count(b"\r") != data.count(b"\r\n"):
            return None
        columns = self._columns
        names = [str(at) for at in range(len(columns.names))]
        fields = [names[at] for at in columns.fields]
        types: dict[str, Any] = dict.fromkeys(fields, pa.float64())
        types[names[columns.time]] = self._time_type(data)
        if columns.symbol is not None:
            types[names[columns.symbol]] = pa.dictionary(pa.int32(), pa.string())
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(data),
                pa.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
                pa.csv.ParseOptions(delimiter=self._delimiter, ignore_empty_lines=False),
                pa.csv.ConvertOptions(column_types=types, include_columns=list(types), strings_can_be_null=False),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows != count:
            return None
        times, good = _times_ns(table[names[columns.time]].combine_chunks(), self._rules)
        values = np.column_stack([table[name].to_numpy() for name in fields])
        good &= self._rules.clean(times, values)
        if columns.symbol is None:
            codes = np.full(count, self._symbols.code(self._file_symbol), np.int32)
        else:
            codes, named = _codes(table[names[columns.symbol]].combine_chunks(), self._symbols)
            good &= named
        lines = np.arange(first_line, first_line + count, dtype=np.int64)
        judged = self._line_by_line(data, first_line, np.flatnonzero(~good).tolist() if not good.all() else ())
        return _merged(Block(times - self._rules.shift_ns, codes, lines, values), good, judged)

    def _time_type(self, data: bytes) -> Any:
        """How the first line writes its time; lines that write it otherwise make pyarrow fail, and are halved apart."""
        line = data[: data.find(b"\n")] if b"\n" in data else data
        fields = split_line(line.rstrip(b"\r"), self._delimiter, len(self._columns.names))
        text = "" if isinstance(fields, str) else fields[self._columns.time].strip()
        if _INTEGER.fullmatch(text):
            return pa.int64()
        return pa.timestamp("ns", tz="UTC") if _ZONED.fullmatch(text) else pa.timestamp("ns")


def _times_ns(column: Any, rules: RowRules) -> tuple[Ints, Mask]:
    """Typed times of any kind: `(ns UTC, usable)`."""
    usable = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    kind = column.type
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("s")), pa.timestamp("s")
    if pa.types.is_timestamp(kind):
        counts = _integers(column.cast(pa.int64()))
        times = counts * {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[kind.unit]
        if kind.tz is None:
            times, exists = rules.zone.to_utc(times)
            usable &= exists
        return times, usable
    return epochs_ns(_integers(column)), usable


def _integers(column: Any) -> Ints:
    return np.asarray(pc.fill_null(column, 0).to_numpy(zero_copy_only=False), np.int64)


def _codes(column: Any, symbols: SymbolTable) -> tuple[Codes, Mask]:
    """Codes of a dictionary-encoded column: `(codes, has a usable name)`."""
    names = [(name or "").strip() for name in column.dictionary.to_pylist()]
    usable = np.array([bool(name) and name.isprintable() for name in names] or [False], np.bool_)
    codes = np.array(
        [symbols.code(name) if ok else 0 for name, ok in zip(names, usable, strict=False)] or [0], np.int32
    )
    at = np.asarray(pc.fill_null(column.indices, 0).to_numpy(zero_copy_only=False))
    valid = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    return codes[at], usable[at] & valid


class ParquetTable:
    """Parquet; times may be timestamps, dates, epoch integers or text, numbers of any numeric type."""

    def __init__(self, path: Path, rules: RowRules, symbols: SymbolTable, batch_rows: int) -> None:
        self.path, self._rules, self._symbols, self._batch_rows = path, rules, symbols, batch_rows
        with pa.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
        self._columns = find_columns(names, f"file {path}")
        self.has_symbols = self._columns.symbol is not None
        self._file_symbol = symbol_of_name(path)

    def _batches(self) -> Iterator[tuple[int, Any]]:
        columns, line = self._columns, 1
        used = [columns.time, *columns.fields, *([] if columns.symbol is None else [columns.symbol])]
        with pa.parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(self._batch_rows, columns=[columns.names[at] for at in used]):
                yield line, batch
                line += batch.num_rows

    def blocks(self) -> Iterator[Block]:
        for first_line, batch in self._batches():
            yield self._as_columns(batch, first_line) or self._row_by_row(batch, first_line, range(batch.num_rows))

    def raw(self, lines: list[int]) -> dict[int, bytes]:
        found = {}
        for first, batch in self._batches():
            for line in lines:
                if first <= line < first + batch.num_rows:
                    found[line] = self._text(batch, line - first)
        return found

    def _as_columns(self, batch: Any, first_line: int) -> Block | None:
        columns, count = self._columns, batch.num_rows
        time = batch.column(columns.names[columns.time])
        if not (pa.types.is_timestamp(time.type) or pa.types.is_date(time.type) or pa.types.is_integer(time.type)):
            return None
        try:
            fields = [batch.column(columns.names[at]).cast(pa.float64()) for at in columns.fields]
        except pa.ArrowInvalid:
            return None
        times, usable = _times_ns(time, self._rules)
        values = np.column_stack([field.to_numpy(zero_copy_only=False) for field in fields])
        good = usable & self._rules.clean(times, values)
        if columns.symbol is None:
            codes = np.full(count, self._symbols.code(self._file_symbol), np.int32)
        else:
            names = batch.column(columns.names[columns.symbol])
            names = names if pa.types.is_dictionary(names.type) else names.cast(pa.string()).dictionary_encode()
            codes, named = _codes(names, self._symbols)
            good &= named
        lines = np.arange(first_line, first_line + count, dtype=np.int64)
        judged = self._row_by_row(batch, first_line, np.flatnonzero(~good).tolist(), np.where(usable, times, -1))
        return _merged(Block(times - self._rules.shift_ns, codes, lines, values), good, judged)

    def _row_by_row(self, batch: Any, first_line: int, wanted: Any, times: Ints | None = None) -> Block:
        builder = _Builder(self._rules, self._symbols)
        columns = self._columns
        for at in wanted:
            row = batch.slice(at, 1).to_pylist()[0]
            time = row[columns.names[columns.time]]
            if times is not None and times[at] != -1:
                time = int(times[at])
            elif time is not None:
                time = str(time)
            symbol = self._file_symbol if columns.symbol is None else str(row[columns.names[columns.symbol]] or "")
            fields = [row[columns.names[column]] for column in columns.fields]
            fields = [value if value is None or isinstance(value, str) else float(value) for value in fields]
            builder.add(first_line + at, time, symbol.strip(), fields, self._text(batch, at))
        return builder.block()

    def _text(self, batch: Any, at: int) -> bytes:
        row = batch.slice(at, 1).to_pylist()[0]
        return ",".join("" if row.get(name) is None else str(row[name]) for name in self._columns.names).encode()


assert len(FIELDS) == 5
