"""Open a file of bars by its name: CSV or Parquet, with the symbol from the name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from dataflows.sources.blocks import BarTable, SymbolTable
from dataflows.sources.csv_table import CsvTable
from dataflows.sources.parquet_table import ParquetTable
from dataflows.sources.rows import RowRules
from schemas.errors import BadInput

CSV_ENDINGS = (".csv", ".csv.gz", ".txt")
PARQUET_ENDINGS = (".parquet", ".pq")


def open_table(path: Path, rules: RowRules, symbols: SymbolTable, chunk_bytes: int) -> BarTable:
    """Open a file of bars. Raises BadInput if it is missing, of an unknown kind, or lacks a required column."""
    name = path.name.lower()
    try:
        if name.endswith(PARQUET_ENDINGS):
            return ParquetTable(path, rules, symbols, symbol_from_file_name(path), max(1024, chunk_bytes // 64))
        if name.endswith(CSV_ENDINGS):
            return CsvTable(path, rules, symbols, symbol_from_file_name(path), chunk_bytes)
    except FileNotFoundError as error:
        raise BadInput(f"file {path} does not exist") from error
    except OSError as error:
        raise BadInput(f"file {path} cannot be read: {error}") from error
    except pa.ArrowInvalid as error:
        raise BadInput(f"file {path} is not Parquet: {str(error).splitlines()[0]}") from error
    raise BadInput(f"file {path} is neither CSV nor Parquet: its name must end in .csv, .csv.gz, .txt or .parquet")


def symbol_from_file_name(path: Path) -> str:
    """Return `AAPL` for `AAPL_2013.csv.gz` and for `AAPL.parquet`.

    >>> symbol_from_file_name(Path("x/BRK.B_2013-10-07.csv"))
    'BRK.B'
    """
    name = path.name
    ending = next((e for e in (*CSV_ENDINGS, *PARQUET_ENDINGS) if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)].split("_")[0]
