"""Rows of CSV and JSON files, with accessors that validate one field each."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from dataflows.sources.text_file import START_BYTES, format_problem
from deploy.trade_files.times import TradeTime, parse_time
from schemas.errors import BadInput

AMOUNT_MAX = Decimal(10) ** 15
_DECIMALS_MAX = 18
_WITH_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_EXPECTED = {"any": "a number", "0": "a number >= 0", "above 0": "a number > 0"}


class Line(NamedTuple):
    """One line of a CSV file, or one object of a JSON file. `number` counts from 1."""

    number: int
    values: list[str]


class TradeFileRow:
    """One row of a file. Each accessor validates one field and raises BadInput.

    `fields` maps lower-case column names to texts. In a broker's file (`is_export`), numbers may be written like
    `$1,234.50` or `(12.00)`.
    """

    def __init__(self, file: str, number: int, line: int, fields: dict[str, str], *, is_export: bool = False) -> None:
        self.name = f"row {number}"
        self.file = file
        self.number = number
        self.place = f"{file} row {number} (line {line})"
        self._fields = fields
        self.is_export = is_export

    def error(self, field: str, expected: str, actual: object = None) -> BadInput:
        shown = self._fields.get(field, "") if actual is None else actual
        return BadInput(f"{self.place}: field {field} must be {expected}, found {shown!r}")

    def text(self, field: str) -> str:
        if not (text := self._fields[field]):
            raise self.error(field, "non-empty")
        return text

    def optional(self, field: str) -> str:
        return self._fields.get(field, "")

    def amount(self, field: str, *, minimum: str) -> Decimal:
        """Parse a decimal number of at most 18 decimals; `minimum` is "any", "0" or "above 0"."""
        return self.parse_amount(field, self._fields[field], minimum=minimum)

    def parse_amount(self, field: str, text: str, *, minimum: str) -> Decimal:
        """Parse `text`, a part of the field."""
        expected, amount = _EXPECTED[minimum], self._number(text)
        if (
            amount is None
            or not amount.is_finite()
            or (minimum != "any" and amount < 0)
            or (minimum == "above 0" and amount == 0)
        ):
            is_formatted = not self.is_export and set(text) & set(",$€()")
            raise self.error(field, f"{expected}, with a decimal point and digits only" if is_formatted else expected)
        if amount.copy_abs() > AMOUNT_MAX or _decimals(amount) > _DECIMALS_MAX:
            raise self.error(field, f"{expected} of at most {AMOUNT_MAX:,} with at most {_DECIMALS_MAX} decimals")
        return amount

    def _number(self, text: str) -> Decimal | None:
        if self.is_export:
            text = text.replace("$", "")
            if text.startswith("(") and text.endswith(")"):
                text = "-" + text[1:-1]
            if _WITH_THOUSANDS.fullmatch(text):
                text = text.replace(",", "")
        try:
            return Decimal(text) if text.isascii() and "_" not in text else None
        except InvalidOperation:
            return None

    def trade_time(self, field: str, zone: ZoneInfo) -> TradeTime:
        trade_time = parse_time(self._fields[field], zone)
        if trade_time is None:
            raise self.error(field, "an ISO date or time such as 2024-01-31 or 2024-01-31T15:30:00Z")
        return trade_time


def _decimals(amount: Decimal) -> int:
    """The number of decimals without trailing zeros."""
    _, digits, exponent = amount.as_tuple()
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return max(0, -int(exponent) - zeros) if amount else 0


def read_lines(path: Path) -> list[Line]:
    """Return the lines of a CSV file that are not empty, their values without surrounding spaces."""
    lines: list[Line] = []
    reader = None
    try:
        with path.open("rb") as start:
            problem = format_problem(start.read(START_BYTES))
        if problem is not None:
            raise BadInput(f"{path.name} {problem}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [Line(reader.line_num, [value.strip() for value in values]) for values in reader if values]
    except OSError as error:
        raise BadInput(f"{path}: cannot read the file: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path.name}: file must be UTF-8 text, byte {error.start} is not valid; save it as CSV UTF-8"
        ) from None
    except csv.Error as error:
        place = f"{path.name} line {reader.line_num}" if reader is not None else path.name
        raise BadInput(f"{place}: file must be valid CSV: {error}") from None
    return lines


def read_json_objects(path: Path) -> list[Line]:
    """Return a JSON array of objects as lines: the column names, then the values of each object."""
    try:
        objects = json.loads(path.read_text(encoding="utf-8-sig"), parse_float=str, parse_int=str)
    except OSError as error:
        raise BadInput(f"{path}: cannot read the file: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{path.name}: file must be a JSON array of objects: {error}") from None
    if not isinstance(objects, list) or not all(isinstance(item, dict) for item in objects):
        raise BadInput(f"{path.name}: file must be a JSON array of objects")
    header = list(dict.fromkeys(name for item in objects for name in item))
    rows = [["" if item.get(name) is None else str(item[name]) for name in header] for item in objects]
    return [Line(number, values) for number, values in enumerate([header, *rows])]


def read_parquet(path: Path) -> list[Line]:
    """Return a Parquet file as lines: the column names, then the values of each row as texts, times in ISO."""
    # Imported here because it is slow to import and most files are CSV.
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        columns = [column.cast(pa.string()).to_pylist() for column in table.columns]
    except OSError as error:
        raise BadInput(f"{path}: cannot read the file: {error}") from None
    except pa.ArrowException as error:
        raise BadInput(f"{path.name}: file must be a Parquet table of plain columns: {error}") from None
    rows = [["" if value is None else value for value in values] for values in zip(*columns, strict=True)]
    return [Line(number, values) for number, values in enumerate([table.column_names, *rows])]


def plain_rows(file: str, lines: Sequence[Line], columns: tuple[str, ...]) -> Iterator[TradeFileRow]:
    """Yield the rows of a file whose first line names the columns. All rows have the same number of fields."""
    header = [name.lower() for name in lines[0].values] if lines else []
    _check_header(file, header, columns)
    for number, line in enumerate(lines[1:], start=1):
        if len(line.values) != len(header):
            place = f"{file} row {number} (line {line.number})"
            raise BadInput(f"{place}: row must have {len(header)} fields, found {len(line.values)}")
        yield TradeFileRow(file, number, line.number, dict(zip(header, line.values, strict=True)))


def _check_header(file: str, header: list[str], columns: tuple[str, ...]) -> None:
    expected, actual = ",".join(columns), ",".join(header)
    if not header:
        raise BadInput(f"{file} is empty, expected the header {expected}")
    hint = "; columns must be separated by commas" if len(header) == 1 else ""
    for column in columns:
        if header.count(column) != 1:
            problem = "missing" if column not in header else "repeated"
            raise BadInput(f"{file} line 1: column {column} is {problem}: found {actual}, expected {expected}{hint}")


def require_consistent_zones(row: TradeFileRow, trade_time: TradeTime, first: TradeTime | None) -> None:
    """Raise BadInput if a file mixes times with and without a zone, which cannot be ordered."""
    if first is not None and trade_time.has_zone is not first.has_zone:
        zoned = "with" if first.has_zone else "without"
        raise row.error("time", f"a time {zoned} a zone like {first.text!r}", trade_time.text)
