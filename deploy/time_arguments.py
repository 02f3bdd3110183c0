"""Parse and format points in time on the command line."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from schemas.errors import BadInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time_ns(option: str, text: str | None) -> int | None:
    """Parse an ISO time such as `2013-10-08T14:30` (UTC unless it has a zone) or nanoseconds since 1970; None for None.

    Raises BadInput, with the option, if it is neither.

    >>> parse_time_ns("--at", "1970-01-01T00:01:00"), parse_time_ns("--at", "60000000000")
    (60000000000, 60000000000)
    """
    if text is None:
        return None
    if text.isdecimal() and len(text) > 8:
        return int(text)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{option} must be a time such as 2024-01-15T14:30:00Z, found {text!r}") from error
    parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
    return (parsed - _EPOCH) // timedelta(microseconds=1) * 1000


def format_ns(ts_ns: int) -> str:
    """Format nanoseconds since 1970 as an ISO time in UTC.

    >>> format_ns(60_000_000_000)
    '1970-01-01T00:01:00Z'
    """
    return (_EPOCH + timedelta(microseconds=ts_ns // 1000)).isoformat().replace("+00:00", "Z")


_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration_ns(text: str) -> int | None:
    """Parse a duration such as `15m`; None if the text is not one.

    >>> parse_duration_ns("2m"), parse_duration_ns("2024-01-15")
    (120000000000, None)
    """
    match = re.fullmatch(r"(\d+)([smhd])", text.strip())
    return None if match is None else int(match[1]) * _UNITS_S[match[2]] * 1_000_000_000


def parse_since_s(option: str, text: str | None, *, now: Callable[[], float] = time.time) -> float:
    """Parse `15m` (that long before now) or an ISO time into seconds since 1970; 0.0 for None.

    Raises BadInput, with the option, if it is neither.

    >>> parse_since_s("--since", "15m", now=lambda: 1000.0), parse_since_s("--since", "1970-01-01T00:01:00Z")
    (100.0, 60.0)
    """
    if text is None:
        return 0.0
    duration_ns = parse_duration_ns(text)
    if duration_ns is not None:
        return now() - duration_ns // 1_000_000_000
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(
            f"{option} must be 90s, 15m, 1h, 1d or a time such as 2024-01-15T14:30Z, found {text!r}"
        ) from error
    return (parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed).timestamp()
