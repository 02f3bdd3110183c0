"""Read CSV files of bars.

pyarrow parses each chunk of lines. A chunk that fails is halved until few lines are left; those are checked one by one
(`RowRules.check_row`). Rows that break a rule are also checked one by one, to find the reason.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from dataflows.sources.blocks import (
    BadRow,
    Block,
    RowCollector,
    SymbolTable,
    join,
    merge_rechecked,
    symbol_codes,
    times_ns,
    to_floats,
)
from dataflows.sources.rows import BarColumns, RowRules, find_columns, split_line
from schemas.errors import BadInput

ROW_BY_ROW_LINES_MAX = 64
_WITH_TIME_ZONE = re.compile(r".*\d[T ].*(Z|[+-]\d\d(:?\d\d)?)", re.IGNORECASE)
_INTEGER = re.compile(r"\s*[+-]?\d+\s*")


class CsvTable:
    """A CSV file with a header line; comma, semicolon or tab; plain or gzip."""

    def __init__(self, path: Path, rules: RowRules, symbols: SymbolTable, file_symbol: str, chunk_bytes: int) -> None:
        self.path, self._rules, self._symbols, self._chunk_bytes = path, rules, symbols, chunk_bytes
        with self._open() as file:
            header = file.readline().decode("utf-8-sig", errors="replace").rstrip("\r\n")
        if not header.strip():
            raise BadInput(f"file {path} is empty or starts with an empty line; it needs a header line")
        self._delimiter = max(",;\t", key=header.count)
        names = split_line(header.encode(), self._delimiter, header.count(self._delimiter) + 1)
        if isinstance(names, str):
            raise BadInput(f"file {path} has a malformed CSV header: {names}")
        self._columns: BarColumns = find_columns(names, f"file {path}")
        self._file_symbol = file_symbol
        self.share_read = 0.0
        # The current chunk and the number of its first line, for raw_lines().
        self._current_chunk = (0, b"")

    def _open(self) -> IO[bytes]:
        return gzip.open(self.path, "rb") if self.path.name.lower().endswith(".gz") else self.path.open("rb")  # type: ignore[return-value]

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield whole lines in chunks, with the number of the first line."""
        with self._open() as file:
            file.readline()
            line, remainder = 2, b""
            while chunk := file.read(self._chunk_bytes):
                end = chunk.rfind(b"\n") + 1
                if not end:
                    remainder += chunk
                    continue
                data, remainder = remainder + chunk[:end], chunk[end:]
                yield line, data
                line += _count_lines(data)
            if remainder:
                yield line, remainder

    def blocks(self) -> Iterator[Block]:
        size = 0 if self.path.name.lower().endswith(".gz") else self.path.stat().st_size
        bytes_read = 0
        for line, data in self._chunks():
            self._current_chunk = (line, data)
            bytes_read += len(data)
            self.share_read = min(bytes_read / size, 1.0) if size else 0.0
            yield self._parse(data, line)
        self.share_read = 1.0

    def has_one_symbol(self) -> bool:
        """Count the first row's symbol as a field: it must occur as often as there are lines."""
        symbol_index, width = self._columns.symbol, len(self._columns.names)
        if symbol_index is None:
            return True
        with self._open() as file:
            file.readline()
            line = file.readline()
        fields = split_line(line.rstrip(b"\r\n"), self._delimiter, width)
        if isinstance(fields, str):
            return False
        comma, line_end = self._delimiter.encode(), b"\r\n" if line.endswith(b"\r\n") else b"\n"
        needle = fields[symbol_index].encode(errors="surrogateescape")
        needle = (comma if symbol_index else b"\n") + needle + (comma if symbol_index < width - 1 else line_end)
        return all((b"\n" + data).count(needle) == _count_lines(data) for _, data in self._chunks())

    def raw_lines(self, lines: list[int]) -> dict[int, bytes]:
        requested, raw_by_line = set(lines), {}
        first, data = self._current_chunk
        if min(lines) >= first:
            texts = data.split(b"\n")
            return {line: texts[line - first].rstrip(b"\r") for line in lines}
        with self._open() as file:
            for number, line in enumerate(file, 1):
                if number in requested:
                    raw_by_line[number] = line.rstrip(b"\r\n")
                    if len(raw_by_line) == len(requested):
                        break
        return raw_by_line

    def _parse(self, data: bytes, first_line: int) -> Block:
        """Parse whole lines. Halve them until pyarrow accepts them or few lines are left."""
        count = _count_lines(data)
        block = self._parse_columns(data, first_line, count)
        if block is not None:
            return block
        middle = data.find(b"\n", len(data) // 2) + 1
        if count <= ROW_BY_ROW_LINES_MAX or not 0 < middle < len(data):
            return self._parse_line_by_line(data, first_line, range(count))
        head, tail = data[:middle], data[middle:]
        return join([self._parse(head, first_line), self._parse(tail, first_line + _count_lines(head))])

    def _parse_line_by_line(self, data: bytes, first_line: int, line_indexes: Any) -> Block:
        columns, lines = self._columns, data.split(b"\n")
        collector = RowCollector(self._rules, self._symbols)
        for index in line_indexes:
            raw = lines[index].rstrip(b"\r")
            if not raw.strip():
                continue  # skip an empty line
            fields = split_line(raw, self._delimiter, len(columns.names))
            if isinstance(fields, str):
                collector.bad_rows.append(BadRow(first_line + index, fields, raw))
                continue
            symbol = self._file_symbol if columns.symbol is None else fields[columns.symbol].strip()
            values = [fields[column] for column in columns.fields]
            collector.add(first_line + index, fields[columns.time], symbol, values, raw)
        return collector.block()

    def _parse_columns(self, data: bytes, first_line: int, count: int) -> Block | None:
        """Parse all lines at once. Return None if pyarrow fails or its row count differs from the line count."""
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
            return None
        columns = self._columns
        names = [str(index) for index in range(len(columns.names))]
        fields = [names[index] for index in columns.fields]
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
        times, good = times_ns(table[names[columns.time]].combine_chunks(), self._rules)
        values = np.column_stack([to_floats(table[name].combine_chunks()) for name in fields])
        good &= self._rules.valid_rows(times, values)
        if columns.symbol is None:
            codes = np.full(count, self._symbols.code(self._file_symbol), np.int32)
        else:
            codes, has_symbol = symbol_codes(table[names[columns.symbol]].combine_chunks(), self._symbols)
            good &= has_symbol
        lines = np.arange(first_line, first_line + count, dtype=np.int64)
        if good.all():
            return Block(times - self._rules.shift_ns, codes, lines, values)
        rechecked = self._parse_line_by_line(data, first_line, np.flatnonzero(~good).tolist())
        return merge_rechecked(Block(times - self._rules.shift_ns, codes, lines, values), good, rechecked)

    def _time_type(self, data: bytes) -> Any:
        """Return the time type of the first line. Other lines make pyarrow fail and are parsed by halving."""
        line = data[: data.find(b"\n")] if b"\n" in data else data
        fields = split_line(line.rstrip(b"\r"), self._delimiter, len(self._columns.names))
        text = "" if isinstance(fields, str) else fields[self._columns.time].strip()
        if _INTEGER.fullmatch(text):
            return pa.int64()
        return pa.timestamp("ns", tz="UTC") if _WITH_TIME_ZONE.fullmatch(text) else pa.timestamp("ns")


def _count_lines(data: bytes) -> int:
    """Count lines; the last may lack its line end. (numpy counts single bytes ten times faster than bytes.count.)"""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == 10)) + (not data.endswith(b"\n"))
