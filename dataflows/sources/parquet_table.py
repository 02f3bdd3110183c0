"""Read Parquet files of bars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from dataflows.sources.bar_layouts import BarColumns, find_columns
from dataflows.sources.blocks import (
    Block,
    Codes,
    RowCollector,
    SymbolTable,
    merge_rechecked,
    symbol_codes,
    text_times_ns,
    times_ns,
    to_floats,
)
from dataflows.sources.row_times import Ints, Mask, is_time_of_day, join_date_and_time
from dataflows.sources.rows import RowRules


class ParquetTable:
    """A Parquet file. Times may be timestamps, dates, epoch integers or text; numbers may have any numeric type."""

    def __init__(self, path: Path, rules: RowRules, symbols: SymbolTable, file_symbol: str, batch_rows: int) -> None:
        self.path, self._rules, self._symbols, self._batch_rows = path, rules, symbols, batch_rows
        with pa.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            self._row_count = max(file.metadata.num_rows, 1)
            self._columns = self._find_columns(names, file)
        self._file_symbol = file_symbol
        self.share_read = 0.0

    def _find_columns(self, names: list[str], file: Any) -> BarColumns:
        label, has_volume = f"file {self.path}", self._rules.has_volume
        columns = find_columns(names, label, has_volume=has_volume)
        first = next(file.iter_batches(1, columns=[names[columns.time]]), None)
        if first is None or not is_time_of_day(_text(first.column(0)[0])):
            return columns
        return find_columns(names, label, has_volume=has_volume, time_has_date=False)

    @property
    def has_local_times(self) -> bool:
        return self._rules.times.has_local_times

    def _batches(self, *, with_fields: bool = True) -> Iterator[tuple[int, Any]]:
        columns, line = self._columns, 1
        indexes = [*columns.times, *(columns.fields if with_fields else ()), columns.symbol]
        with pa.parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(
                self._batch_rows, columns=[columns.names[index] for index in indexes if index is not None]
            ):
                yield line, batch
                line += batch.num_rows

    def blocks(self) -> Iterator[Block]:
        for first_line, batch in self._batches():
            self.share_read = (first_line - 1 + batch.num_rows) / self._row_count
            yield self._parse_columns(batch, first_line) or self._parse_row_by_row(
                batch, first_line, range(batch.num_rows)
            )

    def times(self) -> Iterator[tuple[Ints, Codes]]:
        for _, batch in self._batches(with_fields=False):
            times, usable = self._times(batch)
            codes, has_symbol = self._codes(batch)
            usable &= has_symbol & self._rules.usable_times(times)
            yield (times, codes) if usable.all() else (times[usable], codes[usable])

    def raw_lines(self, lines: list[int]) -> dict[int, bytes]:
        raw_by_line = {}
        for first, batch in self._batches():
            for line in lines:
                if first <= line < first + batch.num_rows:
                    raw_by_line[line] = self._row_text(batch, line - first)
        return raw_by_line

    def _parse_columns(self, batch: Any, first_line: int) -> Block | None:
        columns, count = self._columns, batch.num_rows
        try:
            fields = [
                np.zeros(count) if index is None else to_floats(batch.column(columns.names[index]).cast(pa.float64()))
                for index in columns.fields
            ]
        except pa.ArrowInvalid:
            return None
        times, usable = self._times(batch)
        values = np.column_stack(fields)
        valid, opens = self._rules.valid_rows(times, values)
        codes, has_symbol = self._codes(batch)
        good = usable & valid & has_symbol
        lines = np.arange(first_line, first_line + count, dtype=np.int64)
        rechecked = self._parse_row_by_row(
            batch, first_line, np.flatnonzero(~good).tolist(), np.where(usable, times, -1)
        )
        return merge_rechecked(Block(opens, codes, lines, values), good, rechecked)

    def _times(self, batch: Any) -> tuple[Ints, Mask]:
        columns = [batch.column(self._columns.names[index]) for index in self._columns.times]
        if len(columns) == 2:
            days, clocks = ([_text(value) for value in column] for column in columns)
            texts = [join_date_and_time(day, clock, 6) for day, clock in zip(days, clocks, strict=True)]
            return text_times_ns(pa.array(texts, pa.string()), self._rules)
        time = columns[0]
        if pa.types.is_timestamp(time.type) or pa.types.is_date(time.type):
            return times_ns(time, self._rules)
        if pa.types.is_integer(time.type):
            times, usable = times_ns(time, self._rules)
            if self._rules.usable_times(times[usable]).all():
                return times, usable
        return text_times_ns(pa.array([_text(value) for value in time], pa.string()), self._rules)

    def _codes(self, batch: Any) -> tuple[Codes, Mask]:
        index, count = self._columns.symbol, batch.num_rows
        if index is None:
            return np.full(count, self._symbols.code(self._file_symbol), np.int32), np.ones(count, np.bool_)
        names = batch.column(self._columns.names[index])
        names = names if pa.types.is_dictionary(names.type) else names.cast(pa.string()).dictionary_encode()
        return symbol_codes(names, self._symbols)

    def _parse_row_by_row(self, batch: Any, first_line: int, row_indexes: Any, times: Ints | None = None) -> Block:
        collector = RowCollector(self._rules, self._symbols)
        columns = self._columns
        for index in row_indexes:
            row = batch.slice(index, 1).to_pylist()[0]
            time = row[columns.names[columns.time]]
            if times is not None and times[index] != -1:
                time = int(times[index])
            elif time is not None:
                time = str(time)
            symbol = self._file_symbol if columns.symbol is None else str(row[columns.names[columns.symbol]] or "")
            fields = [0.0 if column is None else row[columns.names[column]] for column in columns.fields]
            fields = [value if value is None or isinstance(value, str) else float(value) for value in fields]
            collector.add(first_line + index, time, symbol.strip(), fields, self._row_text(batch, index))
        return collector.block()

    def _row_text(self, batch: Any, index: int) -> bytes:
        row = batch.slice(index, 1).to_pylist()[0]
        return ",".join("" if row.get(name) is None else str(row[name]) for name in self._columns.names).encode()


def _text(value: Any) -> str:
    """Return the text of one Arrow value; "" for null."""
    python = value.as_py()
    return "" if python is None else str(python)
