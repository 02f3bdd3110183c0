"""Bar intervals as text: of time (`1m`, `1h`, `1d`, `1w`), of trades, volume, currency traded, and price."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from schemas.errors import BadInput

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
DAY_NS: Final = 86_400 * SECOND_NS
WEEK_NS: Final = 7 * DAY_NS
_UNITS_NS: Final = {"s": SECOND_NS, "m": MINUTE_NS, "h": 60 * MINUTE_NS, "d": DAY_NS, "w": WEEK_NS}
_PATTERN = re.compile(r"([1-9][0-9]{0,4})([smhdw])")
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_TICKS = re.compile(r"([1-9][0-9]{0,8})t")
_VOLUME = re.compile(rf"({_NUMBER}(?:e[0-9]{{1,2}})?)v")
_CURRENCY = re.compile(rf"({_NUMBER}e[0-9]{{1,2}}|[0-9]{{6,15}})d")
_RENKO = re.compile(rf"renko_({_NUMBER})")

Interval = int | str
"""An interval of time in nanoseconds, or another one as its shortest text: `100t` (trades), `10000v` (units),
`1000000d` (currency traded), `renko_0.5` (bricks of 0.5), `heikin_ashi_15m` (transformed bars of 15 minutes)."""
HEIKIN_ASHI: Final = "heikin_ashi_"
"""The prefix of an interval whose bars are transformed to Heikin-Ashi bars."""
FROM_TRADES: Final = "trades_"
"""The prefix of an interval whose bars are built from trades instead of the bars of the feed. `parse_interval` does not
accept it, because strategies declare the source separately (`bar_source`)."""
EXPECTED: Final = "such as 15m, 1d, 10000v, 1e6d, renko_0.5 or heikin_ashi_15m"


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


def parse_interval(text: str) -> Interval:
    """Return the interval that a text describes. Raises BadInput for a malformed one.

    >>> parse_interval("1m"), parse_interval("1e4v"), parse_interval("1e6d"), parse_interval("heikin_ashi_60m")
    (60000000000, '10000v', '1000000d', 'heikin_ashi_1h')
    """
    if not isinstance(text, str):
        raise BadInput(f"interval must be a text {EXPECTED}, found {text!r:.64}")
    if _PATTERN.fullmatch(text):
        return interval_ns(text)
    if text.startswith(HEIKIN_ASHI):
        inner = text.removeprefix(HEIKIN_ASHI)
        if inner.startswith(HEIKIN_ASHI):
            raise BadInput(f"interval {text} must contain {HEIKIN_ASHI} once; write {inner}")
        return HEIKIN_ASHI + interval_text(parse_interval(inner))
    if _TICKS.fullmatch(text):
        return text
    for pattern, form in ((_VOLUME, "{}v"), (_CURRENCY, "{}d"), (_RENKO, "renko_{}")):
        if (match := pattern.fullmatch(text)) is not None:
            size = Decimal(match[1])
            if not size:
                raise BadInput(f"interval {text} must have a size above 0")
            shortest = form.format(format(size.normalize(), "f"))
            # A small number followed by d would be a number of days.
            return shortest if pattern.fullmatch(shortest) else f"{shortest[:-1]}e0d"
    raise BadInput(f"interval must be a text {EXPECTED}, found {text!r:.64}")


def interval_text(interval: Interval) -> str:
    """Return the shortest text of an interval, whatever the source of its bars.

    >>> interval_text(interval_ns("90m")), interval_text(interval_ns("60m")), interval_text(interval_ns("24h"))
    ('90m', '1h', '1d')
    """
    if isinstance(interval, str):
        return interval.removeprefix(FROM_TRADES)
    unit = next(unit for unit in reversed(_UNITS_NS) if interval % _UNITS_NS[unit] == 0)
    return f"{interval // _UNITS_NS[unit]}{unit}"


def is_of_trades(interval: Interval) -> bool:
    """Whether the bars count single trades.

    >>> is_of_trades("heikin_ashi_100t"), is_of_trades("10000v")
    (True, False)
    """
    return isinstance(interval, str) and _TICKS.fullmatch(interval.removeprefix(HEIKIN_ASHI)) is not None


def time_interval_ns(interval: Interval) -> int | None:
    """Return the length of an interval of time, also of a transformed one; None for another one.

    >>> time_interval_ns("heikin_ashi_1m") == MINUTE_NS, time_interval_ns("10000v")
    (True, None)
    """
    if isinstance(interval, int):
        return interval
    inner = interval.removeprefix(HEIKIN_ASHI)
    return interval_ns(inner) if inner != interval and _PATTERN.fullmatch(inner) else None


def from_trades(interval: Interval) -> Interval:
    """Return the interval with trades as the source of its bars; an interval of time is unchanged.

    >>> from_trades("10000v"), interval_text(from_trades("10000v")), from_trades("heikin_ashi_1m")
    ('trades_10000v', '10000v', 'heikin_ashi_1m')
    """
    if time_interval_ns(interval) is not None or is_from_trades(interval):
        return interval
    return f"{FROM_TRADES}{interval}"


def is_from_trades(interval: Interval) -> bool:
    """Whether the bars of an interval are built from trades."""
    return isinstance(interval, str) and interval.startswith(FROM_TRADES)
