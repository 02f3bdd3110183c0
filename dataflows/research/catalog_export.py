"""Write bars of the catalogue to one CSV or Parquet file, which a backtest reads like any other file of bars."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from dataflows.research.frame_files import CSV_SUFFIX
from dataflows.research.price_adjustment import adjusted_table, price_factors
from dataflows.sources.catalog.bar_catalog import SCHEMA, BarCatalog
from dataflows.sources.row_times import iso
from schemas.errors import BadInput


def export_bars(
    catalog: BarCatalog,
    interval: str,
    symbols: Sequence[str],
    path: Path,
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    adjusted: str | None = None,
) -> int:
    """Write the bars that open in [start_ns, end_ns) to a file, by symbol and time, and return their number.

    `adjusted` is "splits" or "all" for prices in the shares of today (`price_adjustment`); None: as received.

    Prices are exact: each text of the CSV reads as the same double. Raises BadInput if the file cannot be written, and
    Unavailable if a file of the catalogue is damaged.
    """

    def read(symbol: str) -> pa.Table:
        bars = catalog.read(interval, symbol)
        if adjusted is None:
            return bars
        calendar = catalog.months(interval, symbol)[-1].calendar
        return adjusted_table(bars, price_factors(catalog, symbol), adjusted, "24/7" if calendar == "24/7" else "XNYS")

    tables = (_between(read(symbol), start_ns, end_ns) for symbol in symbols)
    try:
        return _write_csv(tables, path) if path.suffix.lower() == CSV_SUFFIX else _write_parquet(tables, path)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from error


def _between(bars: pa.Table, start_ns: int | None, end_ns: int | None) -> pa.Table:
    opens = bars["time"].cast(pa.int64())
    if start_ns is not None:
        bars, opens = bars.filter(pc.greater_equal(opens, start_ns)), opens.filter(pc.greater_equal(opens, start_ns))
    return bars if end_ns is None else bars.filter(pc.less(opens, end_ns))


def _write_csv(tables: Iterator[pa.Table], path: Path) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SCHEMA.names)
        for table in tables:
            times = map(iso, table["time"].cast(pa.int64()).to_pylist())
            writer.writerows(zip(times, *(table[name].to_pylist() for name in SCHEMA.names[1:]), strict=True))
            count += len(table)
    return count


def _write_parquet(tables: Iterator[pa.Table], path: Path) -> int:
    count = 0
    with parquet.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            count += len(table)
    return count
