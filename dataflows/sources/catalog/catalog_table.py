"""The bars of one symbol in the catalogue as a table of the file feed: its months, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dataflows.sources.blocks import Block, Codes, SymbolTable
from dataflows.sources.catalog.bar_catalog import catalog_months, symbol_of, verified_file
from dataflows.sources.parquet_table import ParquetTable
from dataflows.sources.row_times import Ints
from dataflows.sources.rows import RowRules


class CatalogTable:
    """A `BarTable` whose files are opened one at a time, after their hashes were compared. Raises Unavailable."""

    has_local_times = False

    def __init__(self, folder: Path, rules: RowRules, symbols: SymbolTable, batch_rows: int) -> None:
        self.path, self._rules, self._symbols, self._batch_rows = folder, rules, symbols, batch_rows
        self._months = [month for month in catalog_months(folder) if month.file]
        self._row_count = max(1, sum(month.rows for month in self._months))
        self.share_read = 0.0

    def _tables(self) -> Iterator[tuple[int, ParquetTable]]:
        """Yield the number of rows before each month, and the month."""
        first, symbol = 0, symbol_of(self.path)
        for month in self._months:
            yield (
                first,
                ParquetTable(verified_file(self.path, month), self._rules, self._symbols, symbol, self._batch_rows),
            )
            first += month.rows

    def blocks(self) -> Iterator[Block]:
        for first, table in self._tables():
            for block in table.blocks():
                block.lines = block.lines + first
                block.bad_rows = [row._replace(line=row.line + first) for row in block.bad_rows]
                self.share_read = (int(block.lines[-1]) if len(block.lines) else first) / self._row_count
                yield block

    def times(self) -> Iterator[tuple[Ints, Codes]]:
        for _, table in self._tables():
            yield from table.times()

    def raw_lines(self, lines: list[int]) -> dict[int, bytes]:
        raw_by_line: dict[int, bytes] = {}
        for first, table in self._tables():
            found = table.raw_lines([line - first for line in lines if line > first])
            raw_by_line |= {line + first: raw for line, raw in found.items()}
        return raw_by_line
