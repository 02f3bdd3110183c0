"""Bar intervals as text, such as `1m`, `15m`, `1h`, `1d` and `1w`."""

from __future__ import annotations

import re
from typing import Final

from schemas.errors import BadInput

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
DAY_NS: Final = 86_400 * SECOND_NS
WEEK_NS: Final = 7 * DAY_NS
_UNITS_NS: Final = {"s": SECOND_NS, "m": MINUTE_NS, "h": 60 * MINUTE_NS, "d": DAY_NS, "w": WEEK_NS}
_PATTERN = re.compile(r"([1-9][0-9]{0,4})([smhdw])")


def interval_ns(text: str) -> int:
    """Return the length of an interval in nanoseconds. Raises BadInput for a malformed interval.

    Days and weeks are those of the session, so that only one day and one week are possible.

    >>> interval_ns("15m") // 10**9, interval_ns("60m") == interval_ns("1h")
    (900, True)
    """
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise BadInput(f"interval must be a number followed by s, m, h, d or w, such as 15m, found {text!r}")
    length = int(match[1]) * _UNITS_NS[match[2]]
    if length >= DAY_NS and length not in (DAY_NS, WEEK_NS):
        raise BadInput(f"interval must be below one day, one day (1d) or one week (1w), found {text}")
    return length


def interval_text(length_ns: int) -> str:
    """Return the shortest text of an interval.

    >>> interval_text(interval_ns("90m")), interval_text(interval_ns("60m")), interval_text(interval_ns("24h"))
    ('90m', '1h', '1d')
    """
    unit = next(unit for unit in reversed(_UNITS_NS) if length_ns % _UNITS_NS[unit] == 0)
    return f"{length_ns // _UNITS_NS[unit]}{unit}"
