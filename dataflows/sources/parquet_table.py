"""Read Parquet files of bars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from dataflows.sources.blocks import (
    Block,
    RowCollector,
    SymbolTable,
    merge_rechecked,
    symbol_codes,
    times_ns,
    to_floats,
)
from dataflows.sources.rows import Ints, RowRules, find_columns


class ParquetTable:
    """A Parquet file. Times may be timestamps, dates, epoch integers or text; numbers may have any numeric type."""

    def __init__(self, path: Path, rules: RowRules, symbols: SymbolTable, file_symbol: str, batch_rows: int) -> None:
        self.path, self._rules, self._symbols, self._batch_rows = path, rules, symbols, batch_rows
        with pa.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            self._row_count = max(file.metadata.num_rows, 1)
        self._columns = find_columns(names, f"file {path}")
        self._file_symbol = file_symbol
        self.share_read = 0.0

    def _batches(self) -> Iterator[tuple[int, Any]]:
        columns, line = self._columns, 1
        column_indexes = [columns.time, *columns.fields, *([] if columns.symbol is None else [columns.symbol])]
        with pa.parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(
                self._batch_rows, columns=[columns.names[index] for index in column_indexes]
            ):
                yield line, batch
                line += batch.num_rows

    def blocks(self) -> Iterator[Block]:
        for first_line, batch in self._batches():
            self.share_read = (first_line - 1 + batch.num_rows) / self._row_count
            yield self._parse_columns(batch, first_line) or self._parse_row_by_row(
                batch, first_line, range(batch.num_rows)
            )

    def has_one_symbol(self) -> bool:
        symbol_index, names = self._columns.symbol, set()
        if symbol_index is not None:
            with pa.parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(self._batch_rows, columns=[self._columns.names[symbol_index]]):
                    names.update(pc.unique(batch.column(0)).to_pylist())
        return len(names) <= 1

    def raw_lines(self, lines: list[int]) -> dict[int, bytes]:
        raw_by_line = {}
        for first, batch in self._batches():
            for line in lines:
                if first <= line < first + batch.num_rows:
                    raw_by_line[line] = self._row_text(batch, line - first)
        return raw_by_line

    def _parse_columns(self, batch: Any, first_line: int) -> Block | None:
        columns, count = self._columns, batch.num_rows
        time = batch.column(columns.names[columns.time])
        if not (pa.types.is_timestamp(time.type) or pa.types.is_date(time.type) or pa.types.is_integer(time.type)):
            return None
        try:
            fields = [batch.column(columns.names[index]).cast(pa.float64()) for index in columns.fields]
        except pa.ArrowInvalid:
            return None
        times, usable = times_ns(time, self._rules)
        values = np.column_stack([to_floats(field) for field in fields])
        good = usable & self._rules.valid_rows(times, values)
        if columns.symbol is None:
            codes = np.full(count, self._symbols.code(self._file_symbol), np.int32)
        else:
            names = batch.column(columns.names[columns.symbol])
            names = names if pa.types.is_dictionary(names.type) else names.cast(pa.string()).dictionary_encode()
            codes, has_symbol = symbol_codes(names, self._symbols)
            good &= has_symbol
        lines = np.arange(first_line, first_line + count, dtype=np.int64)
        rechecked = self._parse_row_by_row(
            batch, first_line, np.flatnonzero(~good).tolist(), np.where(usable, times, -1)
        )
        return merge_rechecked(Block(times - self._rules.shift_ns, codes, lines, values), good, rechecked)

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
            fields = [row[columns.names[column]] for column in columns.fields]
            fields = [value if value is None or isinstance(value, str) else float(value) for value in fields]
            collector.add(first_line + index, time, symbol.strip(), fields, self._row_text(batch, index))
        return collector.block()

    def _row_text(self, batch: Any, index: int) -> bytes:
        row = batch.slice(index, 1).to_pylist()[0]
        return ",".join("" if row.get(name) is None else str(row[name]) for name in self._columns.names).encode()
