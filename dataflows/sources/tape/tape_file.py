"""One file of a tape: its rows as records in order of time, with its bad rows at their places."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dataflows.sources.row_times import iso
from dataflows.sources.rows import RowRules, split_line
from dataflows.sources.tape.fields import RowFields
from dataflows.sources.tape.rules import RowContext, TapeFileKind, normalize_names
from dataflows.sources.text_file import START_BYTES, format_problem, line_end_problem, open_text
from operators.news import Tagger
from schemas.errors import BadInput, InvalidField
from schemas.records import Record

if TYPE_CHECKING:
    from dataflows.sources.tape.parquet_rows import ParquetRows

CSV_ENDINGS = (".csv", ".txt")
JSON_ENDINGS = (".jsonl", ".ndjson")
PARQUET_ENDINGS = (".parquet", ".pq")
LINE_BYTES_MAX = 1024 * 1024
OUT_OF_ORDER = "field time must not be before"
"""Start of the reason for which a row in a file of quotes or trades is malformed that is older than the row before."""


class TapeRow(NamedTuple):
    """A record with the time from which it is known; for a bad row, the reason and the previous good row's time."""

    time_ns: int
    line: int
    record: Record | None
    reason: str = ""
    raw: bytes = b""


class TapeFile:
    """A file of CSV with a header line (comma, semicolon or tab) or of JSON lines, plain or gzip, or a Parquet file.

    A row of text is one line; the line of a row of Parquet is its number, from 1.
    Raises BadInput if the file is missing, of another kind, or lacks a column.
    """

    def __init__(self, path: Path, kind: TapeFileKind, rules: RowRules, tag: Tagger) -> None:
        self.path, self.kind, self._rules = path, kind, rules
        self._context = RowContext(f"file:{path.name}", tag)
        name = path.name.lower().removesuffix(".gz")
        is_parquet = path.name.lower().endswith(PARQUET_ENDINGS)
        if not name.endswith((*CSV_ENDINGS, *JSON_ENDINGS)) and not is_parquet:
            raise BadInput(
                f"file {path} is neither CSV, JSON lines nor Parquet: its name must end in .csv, .txt, .jsonl, .ndjson "
                "(also with .gz) or .parquet"
            )
        self._parquet = _open_parquet(path, rules) if is_parquet else None
        self._parse: Callable[[bytes], dict[Any, Any]] = _from_json
        self._header_lines = 0
        try:
            if self._parquet is not None:
                self._require_columns(self._parquet.names)
            elif name.endswith(CSV_ENDINGS):
                self._parse, self._header_lines = self._csv_parser(), 1
            elif not path.is_file():
                raise FileNotFoundError
        except FileNotFoundError as error:
            raise BadInput(f"file {path} does not exist") from error
        except OSError as error:
            raise BadInput(f"file {path} cannot be read: {error}") from error

    def rows(self) -> Iterator[TapeRow]:
        """Return all rows in order of time. Raises BadInput if there are rows and none is usable."""
        if not self.kind.sort_by_time or self._is_ordered():
            return self._place_bad_rows(self._parsed_rows())
        # A bad row stays behind the good row that preceded it.
        return iter(
            sorted(
                self._place_bad_rows(self._parsed_rows(enforce_order=False)), key=lambda row: (row.time_ns, row.line)
            )
        )

    def _csv_parser(self) -> Callable[[bytes], dict[Any, Any]]:
        with open_text(self.path) as file:
            line = file.readline(LINE_BYTES_MAX)
        if problem := format_problem(line[:START_BYTES]) or line_end_problem(line[:START_BYTES]):
            raise BadInput(f"file {self.path} {problem}")
        header = line.decode("utf-8-sig", errors="replace").rstrip("\r\n")
        delimiter = max(",;\t", key=header.count)
        names = split_line(header.encode(), delimiter, header.count(delimiter) + 1)
        if not header.strip():
            raise BadInput(f"file {self.path} is empty or starts with an empty line; its first line must be the header")
        if isinstance(names, str):
            raise BadInput(f"file {self.path} has a malformed CSV header: {names}")
        self._require_columns(names)

        def parse(line: bytes) -> dict[Any, Any]:
            fields = split_line(line, delimiter, len(names))
            if isinstance(fields, str):
                raise InvalidField(fields)
            return dict(zip(names, (field.strip() for field in fields), strict=True))

        return parse

    def _require_columns(self, names: list[str]) -> None:
        columns = normalize_names(dict.fromkeys(names))
        missing = [choice[0] for choice in self.kind.columns if not any(name in columns for name in choice)]
        if missing:
            listed = ", ".join(names)[:200]
            raise BadInput(f"file {self.path} has no column for {', '.join(missing)}; its columns are {listed}")

    def _is_ordered(self) -> bool:
        last_ns = -1
        for row in self._parsed_rows(enforce_order=False):
            if row.record is not None:
                if row.time_ns < last_ns:
                    return False
                last_ns = row.time_ns
        return True

    def _parsed_rows(self, *, enforce_order: bool = True) -> Iterator[TapeRow]:
        """Yield rows in file order. A bad row has the time of the previous good row, -1 before the first."""
        last_ns = -1
        for line_number, raw in self._parquet.rows() if self._parquet is not None else self._lines():
            try:
                values = self._parse(raw) if isinstance(raw, bytes) else raw
                time_ns, record = self.kind.rule(RowFields(normalize_names(values), self._rules), self._context)
                if enforce_order and time_ns < last_ns:
                    raise InvalidField(f"{OUT_OF_ORDER} {iso(last_ns)}, found {iso(time_ns)}")
            except InvalidField as error:
                text = raw if isinstance(raw, bytes) else json.dumps(raw, default=str).encode()
                yield TapeRow(time_ns=last_ns, line=line_number, record=None, reason=str(error), raw=text)
                continue
            last_ns = time_ns
            yield TapeRow(time_ns, line_number, record)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines of rows of a text file, without those of the header and empty ones."""
        with open_text(self.path) as file:
            for line_number, line in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), 1):
                raw = line.rstrip(b"\r\n")
                if line_number > self._header_lines and raw.strip():
                    yield line_number, raw

    def _place_bad_rows(self, rows: Iterator[TapeRow]) -> Iterator[TapeRow]:
        """Yield rows; bad rows before the first good one get its time."""
        pending: list[TapeRow] = []
        first_ns: int | None = None
        for row in rows:
            if row.record is None and first_ns is None:
                pending.append(row)
                continue
            if first_ns is None:
                first_ns = row.time_ns
                yield from (bad._replace(time_ns=row.time_ns) for bad in pending)
            yield row
        if first_ns is None and pending:
            raise BadInput(
                f"no usable row in {self.path}: the first bad row is line {pending[0].line}: {pending[0].reason}"
            )


def _open_parquet(path: Path, rules: RowRules) -> ParquetRows:
    from dataflows.sources.tape.parquet_rows import ParquetRows  # imported here because pyarrow is slow to import

    return ParquetRows(path, rules)


def _from_json(line: bytes) -> dict[Any, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidField(f"row must be a JSON object, found {line[:60].decode(errors='replace')!a}") from error
    if not isinstance(row, dict):
        raise InvalidField(f"row must be a JSON object, found {ascii(row)[:60]}")
    return row
