"""Reads the CSV files of `cli.py lots`: fills and splits, checked field by field.

The first thing that is wrong ends it with a `BadInput` of one line that names file, row, field, what was expected and
what was found. Rows count from 1 behind the header, lines from 1 with it.
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
_LARGEST = Decimal(10) ** 15


class Moment(NamedTuple):
    """A time as it was written, and as it counts. `order` sorts; `wall_ns` has the day that the trade belongs to."""

    text: str
    stamp: datetime
    wall_ns: int

    @property
    def order(self) -> datetime:
        return self.stamp if self.stamp.tzinfo is None else self.stamp.astimezone(UTC)


class FillRow(NamedTuple):
    moment: Moment
    trade: TaxTrade


class SplitRow(NamedTuple):
    moment: Moment
    split: Split


class Row:
    """One line of a CSV file; its fields are taken one by one, each with its own check."""

    def __init__(self, file: str, number: int, line: int, fields: dict[str, str]) -> None:
        self._place = f"{file} row {number} (line {line})"
        self._fields = fields
        self.name = f"row {number}"

    def wrong(self, field: str, expected: str, found: object = None) -> BadInput:
        shown = self._fields.get(field, "") if found is None else found
        return BadInput(f"{self._place}: field {field} must be {expected}, found {shown!r}")

    def text(self, field: str) -> str:
        if not (text := self._fields[field]):
            raise self.wrong(field, "filled in")
        return text

    def optional(self, field: str) -> str:
        return self._fields.get(field, "")

    def amount(self, field: str, *, least: str) -> Decimal:
        """A decimal number; `least` is "any", "0" or "above 0"."""
        expected = {"any": "a number", "0": "a number >= 0", "above 0": "a number > 0"}[least]
        try:
            amount = Decimal(self._fields[field])
        except InvalidOperation:
            raise self.wrong(field, expected) from None
        if not amount.is_finite() or (least != "any" and amount < 0) or (least == "above 0" and amount == 0):
            raise self.wrong(field, expected)
        if abs(amount) > _LARGEST or amount % NANO:
            raise self.wrong(field, f"{expected} of at most {_LARGEST:,} with at most 9 decimals")
        return amount

    def side(self) -> int:
        sides = {"BUY": 1, "SELL": -1}
        sign = sides.get(self._fields["side"].upper())
        if sign is None:
            raise self.wrong("side", "BUY or SELL")
        return sign

    def moment(self, zone: ZoneInfo) -> Moment:
        text = self._fields["time"]
        try:
            stamp = datetime.fromisoformat(text)
        except ValueError:
            raise self.wrong("time", "an ISO date or time such as 2024-01-31 or 2024-01-31T15:30:00Z") from None
        wall = stamp if stamp.tzinfo is None else stamp.astimezone(zone).replace(tzinfo=None)
        since = wall - _EPOCH
        return Moment(text, stamp, (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000)


def read_fills(path: Path, zone: ZoneInfo) -> list[FillRow]:
    """The fills of a file, in order of time; equal times in the file's order."""
    fills: list[FillRow] = []
    for row in _rows(path, FILL_COLUMNS):
        moment = row.moment(zone)
        symbol, sign = row.text("symbol"), row.side()
        quantity, price = row.amount("quantity", least="above 0"), row.amount("price", least="0")
        fee = row.amount("fee", least="any")
        multiplier = row.amount("multiplier", least="above 0") if row.optional("multiplier") else Decimal(1)
        if quantity * price * multiplier > _LARGEST:
            raise row.wrong("quantity", f"such that quantity x price x multiplier is at most {_LARGEST:,}")
        order_id = row.optional("order_id")
        trade = TaxTrade(row.name, moment.wall_ns, symbol, sign * quantity, price, fee, multiplier, order_id)
        _same_kind(row, moment, fills[0].moment if fills else None)
        fills.append(FillRow(moment, trade))
    return sorted(fills, key=lambda fill: fill.moment.order)


def read_splits(path: Path, zone: ZoneInfo) -> list[SplitRow]:
    """The splits of a file, in order of time; a symbol is split at most once a day."""
    splits: list[SplitRow] = []
    seen: dict[tuple[str, date], str] = {}
    for row in _rows(path, SPLIT_COLUMNS):
        moment = row.moment(zone)
        symbol, ratio = row.text("symbol"), row.amount("ratio", least="above 0")
        _same_kind(row, moment, splits[0].moment if splits else None)
        key = (symbol, moment.stamp.date())
        if key in seen:
            raise row.wrong("time", f"a day without another split of {symbol} (overlaps {seen[key]})")
        seen[key] = row.name
        splits.append(SplitRow(moment, Split(f"{path.name} {row.name}", moment.wall_ns, symbol, ratio)))
    return sorted(splits, key=lambda split: split.moment.order)


def _same_kind(row: Row, moment: Moment, first: Moment | None) -> None:
    """Times with and without a zone cannot be put in one order."""
    if first is not None and (first.stamp.tzinfo is None) is not (moment.stamp.tzinfo is None):
        with_or_without = "without" if first.stamp.tzinfo is None else "with"
        raise row.wrong("time", f"a time {with_or_without} a zone like {first.text!r}")


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
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
                yield Row(path.name, number, reader.line_num, fields)
    except OSError as error:
        raise BadInput(f"{path}: file must be readable, found {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path.name}: file must be UTF-8 text, found byte {error.start} that is not") from None
    except csv.Error as error:
        raise BadInput(f"{path.name} line {reader.line_num}: file must be CSV, found: {error}") from None


def _check_header(path: Path, header: list[str], columns: tuple[str, ...]) -> None:
    found = ",".join(header) or "an empty file"
    for column in columns:
        if header.count(column) != 1:
            state = "missing" if column not in header else "there twice"
            wanted = ",".join(columns)
            raise BadInput(f"{path.name} line 1: column {column} is {state}: found {found}, expected {wanted}")
