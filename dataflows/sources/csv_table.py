"""Read CSV files of bars.

pyarrow parses each chunk of lines. A chunk that fails is halved until few lines are left; those are checked one by one
(`RowRules.check_row`). Rows that break a rule are also checked one by one, to find the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from dataflows.sources.bar_layouts import (
    DOLLAR_NAMES,
    BarColumns,
    YahooHeader,
    find_columns,
    headerless_columns,
    normalize_name,
    yahoo_header,
)
from dataflows.sources.blocks import (
    BadRow,
    Block,
    Codes,
    RowCollector,
    SymbolTable,
    join,
    merge_rechecked,
    symbol_codes,
    text_times_ns,
    times_ns,
    to_floats,
)
from dataflows.sources.row_times import (
    EARLIEST_NS,
    Ints,
    Mask,
    clock_digits,
    date_order_of,
    epoch_ns,
    is_ambiguous_date,
    is_time_of_day,
    join_date_and_time,
)
from dataflows.sources.rows import RowRules, split_line
from dataflows.sources.text_file import START_BYTES, format_problem, line_end_problem, open_text
from schemas.errors import BadInput

ROW_BY_ROW_LINES_MAX = 64
NO_VOLUME = "0"
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?")
_WITH_TIME_ZONE = re.compile(r".*\d[T ].*(Z|[+-]\d\d(:?\d\d)?)", re.IGNORECASE)
_INTEGER = re.compile(r"\s*[+-]?\d+\s*")


class CsvTable:
    """A CSV file with comma, semicolon or tab; plain or gzip; with a header line or in a vendor's headerless layout.

    Raises BadInput if it is empty, lacks a column, or has dates whose order is not known.
    """

    def __init__(self, path: Path, rules: RowRules, symbols: SymbolTable, file_symbol: str, chunk_bytes: int) -> None:
        self.path, self._rules, self._symbols, self._chunk_bytes = path, rules, symbols, chunk_bytes
        with open_text(path) as file:
            self._check_format(file.read(START_BYTES))
        with open_text(path) as file:
            lines = [line.decode("utf-8-sig", errors="replace").rstrip("\r\n") for line in islice(file, 4)]
        header = lines[0]
        self._delimiter = max(",;\t", key=header.count)
        layout, yahoo = headerless_columns(header), self._yahoo_header(lines)
        self._header_lines = 3 if yahoo is not None else 1 if layout is None else 0
        names = (
            layout
            or (yahoo and yahoo.names)
            or split_line(header.encode(), self._delimiter, header.count(self._delimiter) + 1)
        )
        if isinstance(names, str):
            raise BadInput(f"file {path} has a malformed CSV header: {names}")
        first_row = lines[self._header_lines] if len(lines) > self._header_lines else ""
        self._columns: BarColumns = self._find_columns(names, first_row)
        self._removes_dollars = any(normalize_name(name) in DOLLAR_NAMES for name in names)
        self._file_symbol = file_symbol if yahoo is None else yahoo.symbol
        self._clock_digits = 6
        self._recognize_texts(first_row)
        self.share_read = 0.0
        # The current chunk and the number of its first line, for raw_lines().
        self._current_chunk = (0, b"")

    def _check_format(self, start: bytes) -> None:
        problem = format_problem(start) or line_end_problem(start)
        if not start.strip():
            problem = "is empty; it needs a header line and rows"
        elif not start.partition(b"\n")[0].strip():
            problem = "starts with an empty line; its first line must be the header"
        if problem is not None:
            raise BadInput(f"file {self.path} {problem}")

    def _yahoo_header(self, lines: list[str]) -> YahooHeader | None:
        fields = [line.split(self._delimiter) for line in lines]
        return yahoo_header(fields, f"file {self.path}")

    def _find_columns(self, names: Any, first_row: str) -> BarColumns:
        label, has_volume = f"file {self.path}", self._rules.has_volume
        columns = find_columns(names, label, has_volume=has_volume)
        fields = split_line(first_row.encode(), self._delimiter, len(names))
        if isinstance(fields, str) or not is_time_of_day(fields[columns.time]):
            return columns
        return find_columns(names, label, has_volume=has_volume, time_has_date=False)

    def _recognize_texts(self, first_row: str) -> None:
        """Read the dates once if their order is open, and the times of day if a leading zero may be missing."""
        columns, rules = self._columns, self._rules
        fields = split_line(first_row.encode(), self._delimiter, len(columns.names))
        if isinstance(fields, str):
            return
        if columns.date is not None and fields[columns.time].strip().isdigit():
            self._clock_digits = clock_digits(self._distinct_texts(columns.time))
        date_index = columns.times[0]
        if rules.times.date_order != "auto" or not is_ambiguous_date(fields[date_index]):
            return
        orders = date_order_of(self._distinct_texts(date_index))
        if len(orders) != 1:
            found = "rows of both orders" if orders else f"{fields[date_index].strip()!r} and none with a day above 12"
            raise BadInput(
                f"file {self.path} has dates whose order is not known: {found}; set market_data.files.date_order "
                "(--date-order) to mdy (month first) or dmy (day first)"
            )
        self._rules = rules.with_date_order(orders.pop())

    @property
    def has_local_times(self) -> bool:
        return self._rules.times.has_local_times

    def _distinct_texts(self, column: int) -> Iterator[str]:
        for _, data in self._chunks():
            yield from {
                fields[column]
                for line in data.split(b"\n")
                if not isinstance(fields := split_line(line, self._delimiter, len(self._columns.names)), str)
            }

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield whole lines in chunks, with the number of the first line."""
        with open_text(self.path) as file:
            for _ in range(self._header_lines):
                file.readline()
            line, remainder = 1 + self._header_lines, b""
            while chunk := file.read(self._chunk_bytes):
                if self._removes_dollars:
                    chunk = chunk.replace(b"$", b"")
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

    def times(self) -> Iterator[tuple[Ints, Codes]]:
        for _, data in self._chunks():
            yield from self._parse_times(data)

    def raw_lines(self, lines: list[int]) -> dict[int, bytes]:
        requested, raw_by_line = set(lines), {}
        first, data = self._current_chunk
        if min(lines) >= first:
            texts = data.split(b"\n")
            return {line: texts[line - first].rstrip(b"\r") for line in lines}
        with open_text(self.path) as file:
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
        halves = self._halves(data, count)
        if halves is None:
            return self._parse_line_by_line(data, first_line, range(count))
        head, tail = halves
        return join([self._parse(head, first_line), self._parse(tail, first_line + _count_lines(head))])

    def _halves(self, data: bytes, count: int) -> tuple[bytes, bytes] | None:
        """Return the halves of whole lines, or None if few lines are left."""
        middle = data.find(b"\n", len(data) // 2) + 1
        is_small = count <= ROW_BY_ROW_LINES_MAX or not 0 < middle < len(data)
        return None if is_small else (data[:middle], data[middle:])

    def _parse_times(self, data: bytes) -> Iterator[tuple[Ints, Codes]]:
        """Yield the usable times and symbols of whole lines, halved like those of `_parse`."""
        count = _count_lines(data)
        table = self._read(data, count, with_fields=False)
        if table is None:
            halves = self._halves(data, count)
            if halves is None:
                yield self._parse_times_line_by_line(data)
            else:
                for half in halves:
                    yield from self._parse_times(half)
            return
        times, usable = self._times(table)
        codes, has_symbol = self._codes(table)
        usable &= has_symbol & self._rules.usable_times(times)
        yield (times, codes) if usable.all() else (times[usable], codes[usable])

    def _parse_times_line_by_line(self, data: bytes) -> tuple[Ints, Codes]:
        columns, rows = self._columns, []
        for line in data.split(b"\n"):
            fields = split_line(line.rstrip(b"\r"), self._delimiter, len(columns.names))
            if isinstance(fields, str):
                continue
            symbol = self._file_symbol if columns.symbol is None else fields[columns.symbol].strip()
            time_ns = self._rules.parse_time(self._time_text(fields))
            if time_ns is not None and symbol and symbol.isprintable():
                rows.append((time_ns, self._symbols.code(symbol)))
        times, codes = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.int32)
        usable = self._rules.usable_times(times)
        return times[usable], codes[usable]

    def _time_text(self, fields: list[str]) -> str:
        columns, time = self._columns, fields[self._columns.time]
        return time if columns.date is None else join_date_and_time(fields[columns.date], time, self._clock_digits)

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
            values = [NO_VOLUME if column is None else fields[column] for column in columns.fields]
            collector.add(first_line + index, self._time_text(fields), symbol, values, raw)
        return collector.block()

    def _parse_columns(self, data: bytes, first_line: int, count: int) -> Block | None:
        """Parse all lines at once. Return None if pyarrow fails or its row count differs from the line count."""
        table = self._read(data, count, with_fields=True)
        if table is None:
            return None
        times, good = self._times(table)
        values = np.column_stack(
            [
                np.zeros(count) if index is None else to_floats(table[str(index)].combine_chunks())
                for index in self._columns.fields
            ]
        )
        valid, opens = self._rules.valid_rows(times, values)
        codes, has_symbol = self._codes(table)
        good &= valid & has_symbol
        lines = np.arange(first_line, first_line + count, dtype=np.int64)
        if good.all():
            return Block(opens, codes, lines, values)
        rechecked = self._parse_line_by_line(data, first_line, np.flatnonzero(~good).tolist())
        return merge_rechecked(Block(opens, codes, lines, values), good, rechecked)

    def _read(self, data: bytes, count: int, *, with_fields: bool) -> Any:
        """Return the columns of all lines as an Arrow table, or None."""
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
            return None
        columns = self._columns
        types: dict[str, Any] = {}
        if with_fields:
            types = dict.fromkeys([str(index) for index in columns.fields if index is not None], pa.float64())
        time_type = self._time_type(data)
        types.update((str(index), time_type) for index in columns.times)
        if columns.symbol is not None:
            types[str(columns.symbol)] = pa.dictionary(pa.int32(), pa.string())
        names = [str(index) for index in range(len(columns.names))]
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(data),
                pa.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
                pa.csv.ParseOptions(delimiter=self._delimiter, ignore_empty_lines=False),
                pa.csv.ConvertOptions(
                    column_types=types,
                    include_columns=list(types),
                    strings_can_be_null=False,
                    decimal_point=self._rules.decimal,
                ),
            )
        except pa.ArrowInvalid:
            return None
        return table if table.num_rows == count else None

    def _times(self, table: Any) -> tuple[Ints, Mask]:
        columns = [table[str(index)].combine_chunks() for index in self._columns.times]
        if len(columns) == 2:
            days, clocks = (column.to_pylist() for column in columns)
            texts = [join_date_and_time(*pair, self._clock_digits) for pair in zip(days, clocks, strict=True)]
            return text_times_ns(pa.array(texts, pa.string()), self._rules)
        if pa.types.is_string(columns[0].type):
            return text_times_ns(columns[0], self._rules)
        return times_ns(columns[0], self._rules)

    def _codes(self, table: Any) -> tuple[Codes, Mask]:
        index, count = self._columns.symbol, table.num_rows
        if index is None:
            return np.full(count, self._symbols.code(self._file_symbol), np.int32), np.ones(count, np.bool_)
        return symbol_codes(table[str(index)].combine_chunks(), self._symbols)

    def _time_type(self, data: bytes) -> Any:
        """Return the time type of the first line. Other lines make pyarrow fail and are parsed by halving."""
        if self._columns.date is not None:
            return pa.string()
        line = data[: data.find(b"\n")] if b"\n" in data else data
        fields = split_line(line.rstrip(b"\r"), self._delimiter, len(self._columns.names))
        text = "" if isinstance(fields, str) else fields[self._columns.time].strip()
        if _INTEGER.fullmatch(text):
            return pa.int64() if len(text) <= 19 and epoch_ns(int(text)) >= EARLIEST_NS else pa.string()
        if _WITH_TIME_ZONE.fullmatch(text):
            return pa.timestamp("ns", tz="UTC")
        return pa.timestamp("ns") if _ISO.fullmatch(text) else pa.string()


def _count_lines(data: bytes) -> int:
    """Count lines; the last may lack its line end. (numpy counts single bytes ten times faster than bytes.count.)"""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == 10)) + (not data.endswith(b"\n"))
