"""Read the files that list the universe of a strategy: a symbol in each row, and the days on which it is a member."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

from operators.strategies import TradingStrategy, UniverseFile
from operators.strategies.universe_rules import UniverseMember
from schemas.errors import BadInput

_SYMBOL_NAMES = ("symbol", "ticker")
_BYTE_ORDER_MARK = "\ufeff"


def universe_members(strategies: Iterable[TradingStrategy]) -> dict[str, tuple[UniverseMember, ...]]:
    """Return the members of the strategies' universes by the path of their file. Raises BadInput like `read_members`"""
    paths = {rule.path for one in strategies if isinstance(rule := one.universe, UniverseFile)}
    return {path: read_members(Path(path)) for path in sorted(paths)}


def read_members(file: Path) -> tuple[UniverseMember, ...]:
    """Read a CSV file (comma, semicolon or tab) with a header line and the columns `symbol`, `from` and `to`.

    `from` and `to` are days (2024-01-31 or 20240131), both included. They are optional, and so is each of their values.
    Other columns are ignored. A symbol can have several rows. Raises BadInput with file and line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInput(f"universe file {file} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"universe file {file} cannot be read as UTF-8 text: {error}") from error
    try:
        members = tuple(_members(text.removeprefix(_BYTE_ORDER_MARK).splitlines(keepends=True)))
    except _InvalidRow as invalid:
        raise BadInput(f"universe file {file}, line {invalid.line}: {invalid}") from invalid
    if not members:
        raise BadInput(f"universe file {file} lists no symbol")
    return members


class _InvalidRow(Exception):
    """A malformed row, with its line."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def _members(lines: list[str]) -> Iterator[UniverseMember]:
    header = lines[0] if lines else ""
    rows = csv.reader(lines, delimiter=max(",;\t", key=header.count), strict=True)
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        symbol_name = next((name for name in _SYMBOL_NAMES if name in names), None)
        if symbol_name is None:
            found = ", ".join(names) or "nothing"
            raise _InvalidRow(1, f"the first line must be a header with a column symbol, found {found:.100}")
        for values in rows:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(names):
                raise _InvalidRow(rows.line_num, f"expected {len(names)} values as in the header, found {len(values)}")
            yield _member(
                dict(zip(names, (value.strip() for value in values), strict=True)), symbol_name, rows.line_num
            )
    except csv.Error as error:
        raise _InvalidRow(rows.line_num, f"malformed CSV: {error}") from error


def _member(row: dict[str, str], symbol_name: str, line: int) -> UniverseMember:
    symbol = row[symbol_name]
    if not symbol or not symbol.isprintable() or " " in symbol:
        raise _InvalidRow(line, f"{symbol_name} must be a symbol, found {symbol!r:.64}")
    member = UniverseMember(symbol)
    if row.get("from"):
        member = member._replace(from_day=_day(row["from"], "from", line))
    if row.get("to"):
        member = member._replace(to_day=_day(row["to"], "to", line))
    if member.to_day < member.from_day:
        raise _InvalidRow(line, f"to must not be before from, found {row['from']} and {row['to']}")
    return member


def _day(text: str, name: str, line: int) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise _InvalidRow(line, f"{name} must be a day such as 2024-01-31, found {text!r:.64}") from error
    return day.year * 10_000 + day.month * 100 + day.day
