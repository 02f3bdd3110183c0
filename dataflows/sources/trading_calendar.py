"""Trading calendar: which intervals are open, and in which session, for XNYS and 24/7.

XNYS takes the regular session (holidays, early closes, daylight saving) from `exchange_calendars`. As on US equity
venues, pre-market runs from 04:00 New York time to the open, and post-market for 4 hours after the close: until 20:00
on a full day, until 17:00 after a close at 13:00. 24/7 has one CONTINUOUS session per UTC day.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from operators.bar_completion import Minute
from schemas.records import CONTINUOUS, POST, PRE, REGULAR

Times = npt.NDArray[np.int64]

DAY_NS = 86_400 * 1_000_000_000
POST_MARKET_NS = 4 * 3_600 * 1_000_000_000
PRE_MARKET_HOUR = 4
NEW_YORK = "America/New_York"


class SessionInterval(NamedTuple):
    """One session of one trading day, `[start_ns, end_ns)`."""

    start_ns: int
    end_ns: int
    session: str
    trading_day: int


class TradingCalendar:
    """Session lookups. Each year is computed once, when first needed.

    `name` is "XNYS" or "24/7". With `session` "regular", the pre- and post-market are sessions but not open.
    """

    def __init__(self, name: str, session: str = "extended") -> None:
        assert name in ("XNYS", "24/7"), name
        self._name = name
        self._open_sessions = (REGULAR, CONTINUOUS) if session == "regular" else (PRE, REGULAR, POST, CONTINUOUS)
        self._intervals: list[SessionInterval] = []
        self._years = range(0)
        self._starts = self._ends = np.empty(0, np.int64)
        self._is_open = np.empty(0, np.bool_)

    def classify(self, opens_ns: Times) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Classify each bar's open as `(open, left_out)`. `left_out` is in a session that the settings exclude.

        Neither means closed: night, weekend, holiday.
        """
        if not len(opens_ns):
            return np.empty(0, np.bool_), np.empty(0, np.bool_)
        self._load_years(int(opens_ns.min()), int(opens_ns.max()))
        index = np.searchsorted(self._starts, opens_ns, side="right") - 1
        in_session = (index >= 0) & (opens_ns < self._ends[index])
        is_open = in_session & self._is_open[index]
        return is_open, in_session & ~is_open

    def minutes(self, from_ns: int, interval_ns: int) -> Iterator[Minute]:
        """Yield every open interval that opens at or after `from_ns`, in order, without end."""
        self._load_years(from_ns, from_ns)
        start = int(np.searchsorted(self._ends, from_ns, side="right"))
        while True:
            # More years may be loaded meanwhile, here or by classify(): continue by time, not by list index.
            intervals = self._intervals[start:]
            for interval in intervals:
                if interval.session not in self._open_sessions:
                    continue
                first_open_ns = -(-max(interval.start_ns, from_ns) // interval_ns) * interval_ns
                for open_ns in range(first_open_ns, interval.end_ns, interval_ns):
                    yield Minute(open_ns, open_ns + interval_ns, interval.session, interval.trading_day)
            from_ns = intervals[-1].end_ns
            self._load_years(from_ns, from_ns + 30 * DAY_NS)
            start = int(np.searchsorted(self._ends, from_ns, side="right"))

    def _load_years(self, first_ns: int, last_ns: int) -> None:
        # A New York trading day extends into the next UTC day, and a year must not end before a long weekend.
        first_year, last_year = _year(first_ns - 7 * DAY_NS), _year(last_ns + 7 * DAY_NS)
        if self._years and first_year >= self._years[0] and last_year <= self._years[-1]:
            return
        if self._years:
            first_year, last_year = min(first_year, self._years[0]), max(last_year, self._years[-1])
        self._years = range(first_year, last_year + 1)
        self._intervals = (
            _xnys_intervals(first_year, last_year)
            if self._name == "XNYS"
            else _continuous_intervals(first_year, last_year)
        )
        self._starts = np.array([interval.start_ns for interval in self._intervals], np.int64)
        self._ends = np.array([interval.end_ns for interval in self._intervals], np.int64)
        self._is_open = np.array([interval.session in self._open_sessions for interval in self._intervals], np.bool_)


def _year(ns: int) -> int:
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).year


def _yyyymmdd(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day


def _midnight_ns(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_NS


def _continuous_intervals(first_year: int, last_year: int) -> list[SessionInterval]:
    day, end, intervals = date(first_year, 1, 1), date(last_year + 1, 1, 1), []
    while day < end:
        start = _midnight_ns(day)
        intervals.append(SessionInterval(start, start + DAY_NS, CONTINUOUS, _yyyymmdd(day)))
        day += timedelta(days=1)
    return intervals


@lru_cache(maxsize=4)
def _xnys_intervals(first_year: int, last_year: int) -> list[SessionInterval]:
    import exchange_calendars  # imported here because it is slow (it imports pandas)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library uses functions that pandas 3 deprecates
        calendar = exchange_calendars.get_calendar("XNYS", start=date(first_year, 1, 1), end=date(last_year, 12, 31))
    opens, closes = (
        column.dt.tz_localize(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
        for column in (calendar.opens, calendar.closes)
    )
    zone, intervals = ZoneInfo(NEW_YORK), []
    for session, open_ns, close_ns in zip(calendar.sessions, opens.tolist(), closes.tolist(), strict=True):
        day = session.date()
        pre_market_open = datetime(day.year, day.month, day.day, PRE_MARKET_HOUR, tzinfo=zone)
        trading_day = _yyyymmdd(day)
        intervals.append(SessionInterval(int(pre_market_open.timestamp()) * 1_000_000_000, open_ns, PRE, trading_day))
        intervals.append(SessionInterval(open_ns, close_ns, REGULAR, trading_day))
        intervals.append(SessionInterval(close_ns, close_ns + POST_MARKET_NS, POST, trading_day))
    return intervals
