"""Open a file of bars by its name: CSV or Parquet, with the symbol from the name. `catalog:SPY` is in the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from dataflows.sources.bar_layouts import symbol_from_file_name
from dataflows.sources.blocks import BarTable, SymbolTable
from dataflows.sources.catalog.bar_catalog import is_series_folder
from dataflows.sources.catalog.catalog_paths import catalog_folders, is_catalog_path
from dataflows.sources.catalog.catalog_table import CatalogTable
from dataflows.sources.csv_table import CsvTable
from dataflows.sources.parquet_table import ParquetTable
from dataflows.sources.rows import RowRules
from schemas.errors import BadInput

CSV_ENDINGS = (".csv", ".csv.gz", ".txt", ".txt.gz")
PARQUET_ENDINGS = (".parquet", ".pq")


def open_table(
    path: Path, rules: RowRules, symbols: SymbolTable, chunk_bytes: int, file_symbol: str | None = None
) -> BarTable:
    """Open a file of bars, or the folder of a symbol in the catalogue. `file_symbol` replaces the symbol in the file's
    name.

    Raises BadInput if the file is missing, of an unknown kind, or lacks a required column.
    """
    batch_rows = max(1024, chunk_bytes // 64)
    if is_series_folder(path):
        return CatalogTable(path, rules, symbols, batch_rows)
    name = path.name.lower()
    symbol = file_symbol or symbol_from_file_name(path, (*CSV_ENDINGS, *PARQUET_ENDINGS))
    try:
        if name.endswith(PARQUET_ENDINGS):
            return ParquetTable(path, rules, symbols, symbol, batch_rows)
        if name.endswith(CSV_ENDINGS):
            return CsvTable(path, rules, symbols, symbol, chunk_bytes)
    except FileNotFoundError as error:
        raise BadInput(f"file {path} does not exist") from error
    except OSError as error:
        raise BadInput(f"file {path} cannot be read: {error}") from error
    except pa.ArrowInvalid as error:
        raise BadInput(f"file {path} is not Parquet: {str(error).splitlines()[0]}") from error
    if not path.exists():
        raise BadInput(f"file {path} does not exist")
    raise BadInput(
        f"file {path} is neither CSV nor Parquet: its name must end in .csv, .csv.gz, .txt, .txt.gz or .parquet"
    )


def list_files(paths: Sequence[str | Path], interval_s: int | None = None) -> list[Path]:
    """Return the files, with folders replaced by their files, in an order independent of the caller's.

    `catalog:SPY,AAPL` stands for the folders of these symbols in the catalogue, with bars of `interval_s` (None: their
    only interval). Raises BadInput for a folder without such a file, and for a symbol that the catalogue does not have.
    """
    files: set[Path] = set()
    for path in map(Path, paths):
        if is_catalog_path(path) or is_series_folder(path):
            files |= {*catalog_folders(path, interval_s)}
        elif path.is_dir():
            matches = {
                child for child in path.iterdir() if child.name.lower().endswith((*CSV_ENDINGS, *PARQUET_ENDINGS))
            }
            if not matches:
                raise BadInput(f"folder {path} holds no CSV or Parquet file")
            files |= matches
        else:
            files.add(path)
    if not files:
        raise BadInput("a file feed needs at least one file")
    return sorted(files, key=lambda path: (path.name, str(path)))
