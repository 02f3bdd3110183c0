"""Alpaca's clock and calendar: the regular sessions of the New York Stock Exchange, from `exchange_calendars`.

The local broker itself is in the session that was set, the regular one by default, so that it trades at every hour.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from deploy.alpaca_server.broker_order import unprocessable

FIRST_DAY, LAST_DAY = date(1970, 1, 2), date(2049, 12, 31)
"""The days that the calendar covers."""
_ZONE = ZoneInfo("America/New_York")
_POST_MARKET = timedelta(hours=4)


class RegularSession(NamedTuple):
    """The regular session of one trading day, in New York time."""

    opens: datetime
    closes: datetime


@lru_cache(maxsize=1)
def regular_sessions() -> list[RegularSession]:
    """Return every regular session from `FIRST_DAY` to `LAST_DAY`. The first call takes seconds."""
    import exchange_calendars  # imported here because it is slow (it imports pandas)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library uses functions that pandas 3 deprecates
        calendar = exchange_calendars.get_calendar("XNYS", start=FIRST_DAY, end=LAST_DAY)
    columns = (calendar.opens.dt.to_pydatetime(), calendar.closes.dt.to_pydatetime())
    return [
        RegularSession(
            opens.replace(tzinfo=UTC).astimezone(_ZONE),
            closes.replace(tzinfo=UTC).astimezone(_ZONE),
        )
        for opens, closes in zip(*columns, strict=True)
    ]


def clock(now: datetime, *, is_open: bool) -> dict[str, Any]:
    """Return the clock as JSON. While the broker is open, its next close comes before its next open."""
    sessions = regular_sessions()
    following = bisect_right(sessions, now, key=lambda one: one.closes)  # the first session that has not ended
    close = sessions[following]
    if is_open:
        opening = sessions[following + 1]
    else:
        opening = close if close.opens > now else sessions[following + 1]
        close = opening
    return {
        "timestamp": now.astimezone(_ZONE).isoformat(),
        "is_open": is_open,
        "next_open": opening.opens.isoformat(),
        "next_close": close.closes.isoformat(),
    }


def calendar(start: date | None, end: date | None) -> list[dict[str, Any]]:
    """Return the trading days from `start` to `end` as JSON. Raises BrokerApiError if `end` is before `start`."""
    first, last = start or FIRST_DAY, end or LAST_DAY
    if last < first:
        raise unprocessable("end must not be before start")
    return [_day_json(one) for one in regular_sessions() if first <= one.opens.date() <= last]


def _day_json(session: RegularSession) -> dict[str, Any]:
    return {
        "date": session.opens.date().isoformat(),
        "open": f"{session.opens:%H:%M}",
        "close": f"{session.closes:%H:%M}",
        "session_open": "0400",
        "session_close": f"{session.closes + _POST_MARKET:%H%M}",
    }
