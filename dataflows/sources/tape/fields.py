"""Read the fields of one row in any file format, with a reason in words if one is wrong."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from dataflows.sources.row_times import EARLIEST_NS, LATEST_NS
from dataflows.sources.rows import RowRules
from operators.money import quantize
from schemas.errors import InvalidField

_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})")
_SEPARATORS = re.compile(r"[\s,;|]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VALUE_MAX = Decimal(10) ** 18
Choice = TypeVar("Choice", bound=str)
NEW_YORK = ZoneInfo("America/New_York")


class RowFields:
    """One row by lower-case column names. Each reader raises InvalidField with field, expected and found."""

    __slots__ = ("_rules", "_values")

    def __init__(self, values: Mapping[str, Any], rules: RowRules) -> None:
        self._values, self._rules = values, rules

    def names(self) -> list[str]:
        """Return the names of the fields that are not empty, in their order."""
        return [name for name in self._values if self.has(name)]

    def has(self, name: str) -> bool:
        return self._values.get(name) not in (None, "")

    def text(self, name: str, default: str | None = None) -> str:
        """Return one line of text; repeated spaces and line breaks count as one space."""
        raw = self._values.get(name)
        if raw is None or raw == "":
            if default is None:
                raise InvalidField(f"field {name} must be a text, found nothing")
            return default
        if not isinstance(raw, str | int | float) or isinstance(raw, bool):
            raise InvalidField(f"field {name} must be a text, found {_describe(raw)}")
        return " ".join(str(raw).encode("utf-8", "replace").decode().split())

    def symbol(self, name: str = "symbol", default: str | None = None) -> str:
        symbol = self.text(name, default)
        if symbol and (not symbol.isprintable() or " " in symbol):
            raise InvalidField(f"field {name} must be a printable name without spaces, found {_describe(symbol)}")
        return symbol

    def symbols(self, name: str) -> list[str]:
        """Parse a list, or a text with names between spaces, commas, semicolons or bars; duplicates are dropped."""
        raw = self._values.get(name)
        names = _SEPARATORS.split(raw) if isinstance(raw, str) else [] if raw is None else raw
        if not isinstance(names, list) or not all(isinstance(item, str) and item.isprintable() for item in names):
            raise InvalidField(f"field {name} must be a list of symbols, found {_describe(raw)}")
        return list(dict.fromkeys(item.strip() for item in names if item.strip()))

    def number(self, name: str, default: float | None = None) -> float:
        raw = self._values.get(name)
        if (raw is None or raw == "") and default is not None:
            return default
        value = _number(raw)
        if value is None:
            raise InvalidField(f"field {name} must be a number, found {_describe(raw)}")
        if not math.isfinite(value):
            raise InvalidField(f"field {name} must be finite, found {value}")
        return value

    def numbers(self, name: str) -> dict[str, float]:
        """Return an object of names with numbers, as in JSON lines; null values are dropped."""
        raw = self._values.get(name)
        if raw is None:
            return {}
        if not isinstance(raw, Mapping):
            raise InvalidField(f"field {name} must be an object of names and numbers, found {_describe(raw)}")
        inner = RowFields(raw, self._rules)
        return {str(key): inner.number(str(key)) for key in raw if raw[key] is not None}

    def positive(self, name: str) -> Decimal:
        """Return a decimal above 0 with at most nine places; a ratio may be written 4:1."""
        text = self.text(name)
        parts = [_decimal(part) for part in text.split(":")]
        if len(parts) > 2 or any(part is None or not 0 < part < _VALUE_MAX for part in parts):
            raise InvalidField(f"field {name} must be a number > 0, found {_describe(text)}")
        numbers = [part for part in parts if part is not None]
        value = quantize(numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0])
        if value <= 0:
            raise InvalidField(f"field {name} must be a number > 0 with at most nine places, found {_describe(text)}")
        return value

    def one_of(self, name: str, allowed: Sequence[Choice]) -> Choice:
        choice = self.text(name).upper().replace(" ", "_").replace("-", "_")
        for candidate in allowed:
            if candidate == choice:
                return candidate
        raise InvalidField(f"field {name} must be one of {', '.join(allowed)}, found {_describe(choice)}")

    def day(self, name: str, default: int | None = None) -> int:
        """Return a date as yyyymmdd, from 2024-11-01 or 20241101."""
        if default is not None and not self.has(name):
            return default
        text = self.text(name)
        match = _DATE.fullmatch(text)
        try:
            parsed = None if match is None else date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:
            parsed = None
        if parsed is None or not 1970 <= parsed.year < 2100:
            raise InvalidField(f"field {name} must be a date such as 2024-11-01, found {_describe(text)}")
        return parsed.year * 10_000 + parsed.month * 100 + parsed.day

    def time_ns(self, names: Sequence[str]) -> int | None:
        """Return the first of the named times that is present, ISO or epoch like the times of bars, or None."""
        name = next((name for name in names if self.has(name)), None)
        if name is None:
            return None
        raw = self._values[name]
        is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
        ns = self._rules.parse_time(str(int(raw)) if is_number and math.isfinite(raw) else str(raw))
        if ns is None:
            raise InvalidField(f"field {name} must be an ISO time or an epoch number, found {_describe(raw)}")
        if not EARLIEST_NS <= ns < LATEST_NS:
            raise InvalidField(f"field {name} must lie between 1980 and 2100, found {_describe(raw)}")
        return ns


def start_of_day_ns(day: int, *, days_later: int = 0, zone: tzinfo = NEW_YORK) -> int:
    """Return midnight at the start of a day given as yyyymmdd, or some days later. `zone` is New York or UTC."""
    local = datetime(day // 10_000, day // 100 % 100, day % 100, tzinfo=zone) + timedelta(days=days_later)
    return round((local.astimezone(UTC) - _EPOCH).total_seconds()) * 1_000_000_000


def content_id(kind: str, *parts: object) -> str:
    """Return an id that depends only on the content: equal parts have equal ids.

    >>> content_id("news", "a", 1) == content_id("news", "a", 1) != content_id("news", "a", 2)
    True
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
    return f"{kind}-{digest[:24]}"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _decimal(text: str) -> Decimal | None:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        return None
    return value if value.is_finite() and "_" not in text else None


def _describe(value: object) -> str:
    return "nothing" if value is None or value == "" else ascii(value)[:80]
