"""Read the CSV files of `cli.py lots`: fills and splits, validated field by field.

The first error raises `BadInput` with one line: file, row, field, expected and found. Rows count from 1 after the
header; lines count from 1 and include it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from operators.ledger import Split, TaxTrade
from operators.money import NANO
from schemas.errors import BadInput

FILL_COLUMNS = ("time", "symbol", "side", "quantity", "price", "fee")
SPLIT_COLUMNS = ("time", "symbol", "ratio")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 wall-clock times are counted from a wall-clock epoch
_AMOUNT_MAX = Decimal(10) ** 15


class TradeTime(NamedTuple):
    """A time as text and parsed. `sort_key` orders times; the wall-clock time `wall_ns` sets the trade day."""

    text: str
    stamp: datetime
    wall_ns: int

    @property
    def sort_key(self) -> datetime:
        return self.stamp if self.stamp.tzinfo is None else self.stamp.astimezone(UTC)


class FillRow(NamedTuple):
    trade_time: TradeTime
    trade: TaxTrade


class SplitRow(NamedTuple):
    trade_time: TradeTime
    split: Split


class CsvRow:
    """One row of a CSV file. Each accessor validates one field and raises BadInput."""

    def __init__(self, file: str, number: int, line: int, fields: dict[str, str]) -> None:
        self._place = f"{file} row {number} (line {line})"
        self._fields = fields
        self.name = f"row {number}"

    def error(self, field: str, expected: str, actual: object = None) -> BadInput:
        shown = self._fields.get(field, "") if actual is None else actual
        return BadInput(f"{self._place}: field {field} must be {expected}, found {shown!r}")

    def text(self, field: str) -> str:
        if not (text := self._fields[field]):
            raise self.error(field, "non-empty")
        return text

    def optional(self, field: str) -> str:
        return self._fields.get(field, "")

    def amount(self, field: str, *, minimum: str) -> Decimal:
        """Parse a decimal number; `minimum` is "any", "0" or "above 0"."""
        expected = {"any": "a number", "0": "a number >= 0", "above 0": "a number > 0"}[minimum]
        try:
            amount = Decimal(self._fields[field])
        except InvalidOperation:
            raise self.error(field, expected) from None
        if not amount.is_finite() or (minimum != "any" and amount < 0) or (minimum == "above 0" and amount == 0):
            raise self.error(field, expected)
        if abs(amount) > _AMOUNT_MAX or amount % NANO:
            raise self.error(field, f"{expected} of at most {_AMOUNT_MAX:,} with at most 9 decimals")
        return amount

    def side(self) -> int:
        sides = {"BUY": 1, "SELL": -1}
        sign = sides.get(self._fields["side"].upper())
        if sign is None:
            raise self.error("side", "BUY or SELL")
        return sign

    def trade_time(self, zone: ZoneInfo) -> TradeTime:
        text = self._fields["time"]
        try:
            stamp = datetime.fromisoformat(text)
        except ValueError:
            raise self.error("time", "an ISO date or time such as 2024-01-31 or 2024-01-31T15:30:00Z") from None
        wall = stamp if stamp.tzinfo is None else stamp.astimezone(zone).replace(tzinfo=None)
        elapsed = wall - _EPOCH
        return TradeTime(text, stamp, (elapsed.days * 86_400 + elapsed.seconds) * 10**9 + elapsed.microseconds * 1_000)


def read_fills(path: Path, zone: ZoneInfo) -> list[FillRow]:
    """Return the fills of a file ordered by time; fills with equal times keep the order of the file."""
    fills: list[FillRow] = []
    for row in _read_rows(path, FILL_COLUMNS):
        trade_time = row.trade_time(zone)
        symbol, sign = row.text("symbol"), row.side()
        quantity, price = row.amount("quantity", minimum="above 0"), row.amount("price", minimum="0")
        fee = row.amount("fee", minimum="any")
        multiplier = row.amount("multiplier", minimum="above 0") if row.optional("multiplier") else Decimal(1)
        if quantity * price * multiplier > _AMOUNT_MAX:
            raise row.error("quantity", f"such that quantity x price x multiplier is at most {_AMOUNT_MAX:,}")
        order_id = row.optional("order_id")
        trade = TaxTrade(row.name, trade_time.wall_ns, symbol, sign * quantity, price, fee, multiplier, order_id)
        _require_consistent_zones(row, trade_time, fills[0].trade_time if fills else None)
        fills.append(FillRow(trade_time, trade))
    return sorted(fills, key=lambda fill: fill.trade_time.sort_key)


def read_splits(path: Path, zone: ZoneInfo) -> list[SplitRow]:
    """Return the splits of a file ordered by time. A symbol may have at most one split per day."""
    splits: list[SplitRow] = []
    seen: dict[tuple[str, date], str] = {}
    for row in _read_rows(path, SPLIT_COLUMNS):
        trade_time = row.trade_time(zone)
        symbol, ratio = row.text("symbol"), row.amount("ratio", minimum="above 0")
        _require_consistent_zones(row, trade_time, splits[0].trade_time if splits else None)
        key = (symbol, trade_time.stamp.date())
        if key in seen:
            raise row.error("time", f"a day without another split of {symbol} (overlaps {seen[key]})")
        seen[key] = row.name
        splits.append(SplitRow(trade_time, Split(f"{path.name} {row.name}", trade_time.wall_ns, symbol, ratio)))
    return sorted(splits, key=lambda split: split.trade_time.sort_key)


def _require_consistent_zones(row: CsvRow, trade_time: TradeTime, first: TradeTime | None) -> None:
    """Raises BadInput if a file mixes times with and without a zone, which cannot be ordered."""
    if first is not None and (first.stamp.tzinfo is None) is not (trade_time.stamp.tzinfo is None):
        with_or_without = "without" if first.stamp.tzinfo is None else "with"
        raise row.error("time", f"a time {with_or_without} a zone like {first.text!r}")


def _read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[CsvRow]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            _check_header(path, header, columns)
            number = 0
            for values in reader:
                if not values:
                    continue
                number += 1
                place = f"{path.name} row {number} (line {reader.line_num})"
                if len(values) != len(header):
                    raise BadInput(f"{place}: row must have {len(header)} fields, found {len(values)}")
                fields = dict(zip(header, (value.strip() for value in values), strict=True))
                yield CsvRow(path.name, number, reader.line_num, fields)
    except OSError as error:
        raise BadInput(f"{path}: cannot read the file: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path.name}: file must be UTF-8 text, byte {error.start} is not valid") from None
    except csv.Error as error:
        raise BadInput(f"{path.name} line {reader.line_num}: file must be valid CSV: {error}") from None


def _check_header(path: Path, header: list[str], columns: tuple[str, ...]) -> None:
    actual = ",".join(header) or "an empty file"
    for column in columns:
        if header.count(column) != 1:
            problem = "missing" if column not in header else "repeated"
            expected = ",".join(columns)
            raise BadInput(f"{path.name} line 1: column {column} is {problem}: found {actual}, expected {expected}")
