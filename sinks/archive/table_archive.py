"""Archived partitions of the database tables: `FOLDER/tables/TABLE/PARTITION.parquet`, with a manifest for each table.

A file has the columns of its record type, in the order of the primary key: decimals as decimal128(38, 9), lists and
dicts as JSON text. Every analysis tool that reads Parquet can read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from schemas.errors import Unavailable
from sinks.archive.container_file import file_hash
from sinks.archive.log_manifest import read_rows, sync_folder, write_rows
from sinks.record_tables import MONTHLY_TABLES, fields_of, record_of

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

MANIFEST_FILE = "partitions.json"
TABLES_FOLDER = "tables"
GROUP_ROWS = 50_000
_AS_TEXT = (list, dict)
R = TypeVar("R", bound=tuple[Any, ...])


class ArchivedPartition(NamedTuple):
    """One file: `rows` rows of a table from `first_ns` to `last_ns`. All are before `end_ns`, the end of the partition.

    `file` is the path below the folder of the tables.
    """

    file: str
    table_name: str
    sha256: str
    first_ns: int
    last_ns: int
    end_ns: int
    rows: int
    bytes: int
    archived_ns: int


class TableArchive:
    """The archived partitions in `folder`, the folder of the archive, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / TABLES_FOLDER

    def tables(self) -> list[str]:
        """Return the tables with archived partitions, sorted."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{MANIFEST_FILE}"))

    def partitions(self, table: str) -> list[ArchivedPartition]:
        """Return the archived partitions of a table, oldest first. Raises Unavailable if the manifest is damaged."""
        return read_rows(self.folder / table / MANIFEST_FILE, ArchivedPartition)

    def write(
        self, table: str, file: str, rows: Iterable[tuple[Any, ...]], *, end_ns: int, archived_ns: int
    ) -> ArchivedPartition:
        """Write rows to a file, then add it to the manifest. The file and the manifest are durable. Raises OSError.

        Values are as in the database; lists and dicts are JSON text.
        """
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            count, first_ns, last_ns = _write_parquet(temporary, MONTHLY_TABLES[table], rows)
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sha256, size = file_hash(temporary), temporary.stat().st_size
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
        added = ArchivedPartition(
            file=file,
            table_name=table,
            sha256=sha256,
            first_ns=first_ns,
            last_ns=last_ns,
            end_ns=end_ns,
            rows=count,
            bytes=size,
            archived_ns=archived_ns,
        )
        others = [one for one in self.partitions(table) if one.file != file]
        write_rows(path.parent / MANIFEST_FILE, sorted([*others, added], key=lambda one: (one.end_ns, one.file)))
        return added

    def rows(self, partition: ArchivedPartition, symbol: str | None = None) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a file, or those of a symbol. Raises Unavailable if the file is damaged."""
        with self._open(partition) as file:
            at = file.schema_arrow.names.index("symbol") if symbol is not None else -1
            for group in _groups(file, symbol):
                columns = [column.to_pylist() for column in file.read_row_group(group).columns]
                rows = zip(*columns, strict=True)
                yield from rows if symbol is None else (row for row in rows if row[at] == symbol)

    def columns(self, partition: ArchivedPartition, names: Sequence[str]) -> pyarrow.Table:
        """Return some columns of a file. Raises Unavailable if the file is damaged."""
        with self._open(partition) as file:
            return file.read(columns=list(names))

    @contextmanager
    def _open(self, partition: ArchivedPartition) -> Iterator[pyarrow.parquet.ParquetFile]:
        """Open a file after its hash was compared. Raises Unavailable, also for errors within the block."""
        from pyarrow import ArrowException, parquet

        path = self.folder / partition.file
        if (found := file_hash(path)) != partition.sha256:
            raise Unavailable(
                f"the archive file {path} is damaged: its SHA-256 starts with {found[:12]}, expected "
                f"{partition.sha256[:12]} (manifest); restore it from a copy"
            )
        try:
            with parquet.ParquetFile(path) as file:
                yield file
        except (ArrowException, OSError) as error:
            raise Unavailable(f"the archive file {path} is damaged: {error}; restore it from a copy") from error

    def verify(self, partition: ArchivedPartition) -> int:
        """Read all rows of a file and return their number. Raises Unavailable if the file is damaged."""
        count = sum(1 for _ in self.rows(partition))
        if count != partition.rows:
            raise Unavailable(
                f"the archive file {self.folder / partition.file} has {count} rows, expected {partition.rows}"
            )
        return count

    def records(self, kind: type[R], partition: ArchivedPartition, symbol: str | None = None) -> Iterator[R]:
        """Yield the records of a file, or those of a symbol. Raises Unavailable."""
        fields = fields_of(kind)
        for row in self.rows(partition, symbol):
            values = zip(fields, row, strict=True)
            yield record_of(kind, {f.name: json.loads(v) if f.kind in _AS_TEXT else v for f, v in values})


def _groups(file: Any, symbol: str | None) -> Iterator[int]:
    """Yield the numbers of the row groups that may have rows of a symbol."""
    names = file.schema_arrow.names
    for group in range(file.metadata.num_row_groups):
        if symbol is not None:
            found = file.metadata.row_group(group).column(names.index("symbol")).statistics
            if found is not None and found.has_min_max and not found.min <= symbol <= found.max:
                continue
        yield group


def _write_parquet(path: Path, kind: type, rows: Iterable[tuple[Any, ...]]) -> tuple[int, int, int]:
    """Write the rows. Return their number, and the first and the last time, 0 without rows."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = arrow_schema(kind)
    at, count = schema.names.index("ts_ns"), 0
    times: list[int] = []
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        remaining = iter(rows)
        while group := list(islice(remaining, GROUP_ROWS)):
            columns = list(zip(*group, strict=True))
            arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(group)
            times = [min([*times, *columns[at]]), max([*times, *columns[at]])]
    first_ns, last_ns = times or (0, 0)
    return count, first_ns, last_ns


def arrow_schema(kind: type) -> pyarrow.Schema:
    """Return the columns of a record type's files."""
    import pyarrow as pa

    types: dict[type, Any] = {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        bytes: pa.binary(),
        Decimal: pa.decimal128(38, 9),
        list: pa.string(),
        dict: pa.string(),
    }
    return pa.schema([pa.field(field.name, types[field.kind], nullable=field.nullable) for field in fields_of(kind)])


def selected_columns(kind: type) -> Sequence[str]:
    """Return the SQL expressions of a record type's columns, as `TableArchive.write` expects their values."""
    return [f'"{field.name}"::text' if field.kind in _AS_TEXT else f'"{field.name}"' for field in fields_of(kind)]
