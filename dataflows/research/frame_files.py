"""Write result tables as CSV or Parquet, chosen by the file's suffix.

CSV holds exact decimals and ISO times in UTC. Parquet holds doubles and nanosecond timestamps in UTC, for analysis.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from dataflows.research.frames import TIME_COLUMNS, Frame
from dataflows.sources.row_times import iso
from operators.money import plain
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

CSV_SUFFIX = ".csv"
PARQUET_SUFFIXES = (".parquet", ".pq")
_TEXT_COLUMNS = frozenset(
    {"order_id", "id", "symbol", "side", "type", "event", "reason", "strategy", "tag", "status", "time_in_force"}
    | {"group", "parent", "replaces"}
)


def check_output(option: str, path: Path) -> None:
    """Raises BadInput if results cannot be written to a file of this name. Call it before the run."""
    suffixes = (CSV_SUFFIX, *PARQUET_SUFFIXES)
    if path.suffix.lower() not in suffixes:
        suggestion = did_you_mean(path.suffix.lower(), suffixes)
        raise BadInput(f"{option} {path}: the name must end in {', '.join(suffixes)}{suggestion}")
    if not path.parent.is_dir():
        raise BadInput(f"{option} {path}: folder {path.parent} does not exist")


def write_frame(frame: Frame, path: Path) -> None:
    """Write a table to a file, replacing it. Raises BadInput if the file cannot be written."""
    try:
        if path.suffix.lower() == CSV_SUFFIX:
            with path.open("w", newline="", encoding="utf-8") as file:
                _write_csv(frame, file)
        else:
            _write_parquet(frame, path)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from error


def print_frame(frame: Frame) -> None:
    """Write a table to standard output as CSV."""
    _write_csv(frame, sys.stdout)


def _write_csv(frame: Frame, file: TextIO) -> None:
    formats = [_text_format(name) for name in frame.columns]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in frame.rows:
        writer.writerow([as_text(value) for as_text, value in zip(formats, row, strict=True)])


def _text_format(column: str) -> Callable[[Any], str]:
    if column in TIME_COLUMNS:
        return lambda value: "" if value is None else iso(value)
    return _text


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return plain(value)
    # Without an exponent, so that the column reads like the others.
    return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _write_parquet(frame: Frame, path: Path) -> None:
    # Imported here because it is slow to import and CSV does not use it.
    from pyarrow import parquet

    parquet.write_table(arrow_table(frame), path)


def arrow_table(frame: Frame) -> Any:
    """Return a table as a `pyarrow.Table`, with doubles and nanosecond timestamps in UTC."""
    import pyarrow as pa

    columns = list(zip(*frame.rows, strict=True)) or [()] * len(frame.columns)
    types = [_arrow_type(pa, name) for name in frame.columns]
    arrays = [
        pa.array([float(value) if isinstance(value, Decimal) else value for value in values], type=kind)
        for values, kind in zip(columns, types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, names=list(frame.columns))


def _arrow_type(pa: Any, column: str) -> Any:
    if column in TIME_COLUMNS:
        return pa.timestamp("ns", tz="UTC")
    if column in _TEXT_COLUMNS:
        return pa.string()
    return {"bars": pa.int64(), "day": pa.int64(), "direction": pa.int64(), "reduce_only": pa.bool_()}.get(
        column, pa.float64()
    )
