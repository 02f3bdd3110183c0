"""Read the rows of a Parquet file of a tape: one mapping of column names to values for each row."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from dataflows.sources.blocks import times_ns
from dataflows.sources.rows import RowRules
from schemas.errors import BadInput

_BATCH_ROWS = 10_000


class ParquetRows:
    """A Parquet file. Timestamps become nanoseconds UTC, dates become text, and null and NaN become None.

    Raises BadInput if the file is missing, damaged or of another kind.
    """

    def __init__(self, path: Path, rules: RowRules) -> None:
        self._path, self._rules = path, rules
        if not path.is_file():
            raise BadInput(f"file {path} does not exist")
        try:
            with pa.parquet.ParquetFile(path) as file:
                self.names: list[str] = list(file.schema_arrow.names)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number of each row, from 1, and its values."""
        number = 0
        try:
            with pa.parquet.ParquetFile(self._path) as file:
                for batch in file.iter_batches(_BATCH_ROWS):
                    columns = [self._values(column) for column in batch.columns]
                    for values in zip(*columns, strict=True):
                        number += 1
                        yield number, dict(zip(self.names, values, strict=True))
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _values(self, column: Any) -> list[Any]:
        if pa.types.is_timestamp(column.type):
            times, usable = times_ns(column, self._rules)
            # A local time that a change of the clock skips is invalid; its text is in the reason.
            pairs = zip(times.tolist(), usable.tolist(), column, strict=True)
            return [ns if is_time else _plain(value.as_py()) for ns, is_time, value in pairs]
        return [_plain(value) for value in column.to_pylist()]

    def _unreadable(self, error: Exception) -> BadInput:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        return BadInput(f"file {self._path} cannot be read as Parquet: {first_line}; write or download it again")


def _plain(value: Any) -> Any:
    """Return a value as a row of JSON lines has it."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Decimal | datetime | date):
        return str(value)
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value
