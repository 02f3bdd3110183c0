"""Read the query of a list request. Every fault is one of Alpaca's 4xx responses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime

from deploy.alpaca_server.broker_order import invalid

QueryFields = Mapping[str, str]
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?(Z|[+ -]\d\d:?\d\d)?)?", re.ASCII
)


def choice(query: QueryFields, name: str, allowed: tuple[str, ...], default: str) -> str:
    """Return one of the allowed values, or the default."""
    value = query.get(name) or default
    if value not in allowed and value != default:
        raise invalid(f"invalid {name}")
    return value


def whole_number(query: QueryFields, name: str, default: int, maximum: int) -> int:
    """Return a number from 1 to `maximum`, or the default. A larger number counts as the maximum, as at Alpaca."""
    text = query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < 1:
        raise invalid(f"invalid {name}")
    return min(int(text), maximum)


def flag(query: QueryFields, name: str) -> bool:
    """Return a boolean, False if it is missing. Clients write it as true, True or 1."""
    text = query.get(name, "").lower()
    if text not in ("", "true", "false", "t", "f", "1", "0"):
        raise invalid(f"invalid {name}")
    return text in ("true", "t", "1")


def names(query: QueryFields, name: str) -> set[str]:
    """Return the values of a comma-separated list."""
    return {value for value in query.get(name, "").split(",") if value}


def timestamp(query: QueryFields, name: str) -> str:
    """Return an RFC 3339 time or a day as text in UTC with nanoseconds, which sorts by time. "" if it is missing.

    >>> timestamp({"after": "2026-03-02T10:00:00.123456789-05:00"}, "after")
    '2026-03-02T15:00:00.123456789Z'
    """
    text = query.get(name, "")
    if not text:
        return ""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise invalid(f"invalid {name}")
    day_text, time_text, fraction, offset = match.groups()
    offset = (offset or "Z").replace(" ", "+").replace("Z", "+00:00")  # an unescaped plus sign arrives as a space
    try:
        parsed = datetime.fromisoformat(f"{day_text}T{time_text or '00:00:00'}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(f"invalid {name}") from None
    return parsed.strftime("%Y-%m-%dT%H:%M:%S") + f".{fraction or '':0<9}Z"


def day(query: QueryFields, name: str) -> date | None:
    """Return a day, given as YYYY-MM-DD or as an RFC 3339 time. None if it is missing."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise invalid(f"invalid {name}") from None
