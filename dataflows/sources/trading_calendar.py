"""Trading calendar: which intervals are open, and in which session, for XNYS and 24/7.

XNYS takes the regular session (holidays, early closes, daylight saving) from `exchange_calendars`. As on US equity
venues, pre-market runs from 04:00 New York time to the open, and post-market for 4 hours after the close: until 20:00
on a full day, until 17:00 after a close at 13:00. 24/7 has one CONTINUOUS session per UTC day.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from operators.bar_completion import Calendar, Minute, Sessions
from operators.trading.sessions import SessionTimes
from schemas.records import CONTINUOUS, POST, PRE, REGULAR, SessionPhase

Times = npt.NDArray[np.int64]

DAY_NS = 86_400 * 1_000_000_000
POST_MARKET_NS = 4 * 3_600 * 1_000_000_000
PRE_MARKET_HOUR = 4
NEW_YORK = "America/New_York"
_FULL_SESSION_NS = 13 * 1_800 * 1_000_000_000  # 6.5 hours
_SESSION_YEARS = (1990, 2050)


class SessionInterval(NamedTuple):
    """One session of one trading day, `[start_ns, end_ns)`."""

    start_ns: int
    end_ns: int
    session: SessionPhase
    trading_day: int


class TradingCalendar:
    """Session lookups. Each year is computed once, when first needed.

    `name` is "XNYS" or "24/7". With `session` "regular", the pre- and post-market are sessions but not open.
    Intervals longer than half an hour start at the start of their session, and the last one ends with it. Days of XNYS
    are their regular session.
    """

    def __init__(self, name: Calendar, session: Sessions = "extended") -> None:
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
        index = self._session_index(opens_ns)
        in_session = index >= 0
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
                start_ns, end_ns = interval.start_ns, interval.end_ns
                if interval.session not in self._open_sessions:
                    continue
                first_open_ns = start_ns - (start_ns - max(start_ns, from_ns)) // interval_ns * interval_ns
                for open_ns in range(first_open_ns, end_ns, interval_ns):
                    yield Minute(open_ns, min(open_ns + interval_ns, end_ns), interval.session, interval.trading_day)
            from_ns = intervals[-1].end_ns
            self._load_years(from_ns, from_ns + 30 * DAY_NS)
            start = int(np.searchsorted(self._ends, from_ns, side="right"))

    def date_of(self, time_ns: int) -> int:
        """Return the date of a time at the exchange, as yyyymmdd."""
        zone = UTC if self._name == "24/7" else ZoneInfo(NEW_YORK)
        return _yyyymmdd(datetime.fromtimestamp(time_ns // 1_000_000_000, zone).date())

    def minutes_before(self, end_ns: int, interval_ns: int, count: int) -> list[Minute]:
        """Return the last `count` open intervals that end at or before `end_ns`, oldest first."""
        span_ns = 6 * count * interval_ns + 7 * DAY_NS  # the market is open for at least a sixth of the time
        minutes = takewhile(lambda minute: minute.ts_ns <= end_ns, self.minutes(max(0, end_ns - span_ns), interval_ns))
        return list(deque(minutes, maxlen=count))

    def phases(self, opens_ns: Times) -> dict[SessionPhase | None, int]:
        """Count times by the phase of their session; None: outside all sessions."""
        if self._name == "24/7":
            return {CONTINUOUS: len(opens_ns)} if len(opens_ns) else {}
        index = self._session_index(opens_ns)
        phases: dict[SessionPhase | None, int] = {}
        for number, count in zip(*np.unique(index, return_counts=True), strict=True):
            phase = None if number < 0 else self._intervals[number].session
            phases[phase] = phases.get(phase, 0) + int(count)
        return phases

    def session_bounds(self, times_ns: Times) -> tuple[Times, Times]:
        """Return start and end of the session of each time; -1 outside all sessions."""
        index = self._session_index(times_ns)
        return np.where(index < 0, -1, self._starts[index]), np.where(index < 0, -1, self._ends[index])

    def session_end(self, time_ns: int) -> int | None:
        """Return the end of the session that contains a time, open or not; None outside all sessions."""
        _, ends = self.session_bounds(np.array([time_ns], np.int64))
        return None if ends[0] < 0 else int(ends[0])

    def open_time_ns(self, from_ns: int, to_ns: int) -> int:
        """Return how long the market is open between two times, in ns."""
        if to_ns <= from_ns:
            return 0
        self._load_years(from_ns, to_ns)
        first = int(np.searchsorted(self._ends, from_ns, side="right"))
        last = int(np.searchsorted(self._starts, to_ns, side="left"))
        starts = np.maximum(self._starts[first:last], from_ns)
        ends = np.minimum(self._ends[first:last], to_ns)
        return int(((ends - starts) * self._is_open[first:last]).sum())

    def regular_sessions(self, from_ns: int, to_ns: int) -> list[SessionInterval]:
        """Return the regular sessions, or those of a market around the clock, that end after `from_ns` and start at or
        before `to_ns`.
        """
        self._load_years(from_ns, to_ns)
        first = int(np.searchsorted(self._ends, from_ns, side="right"))
        last = int(np.searchsorted(self._starts, to_ns, side="right"))
        return [one for one in self._intervals[first:last] if one.session in (REGULAR, CONTINUOUS)]

    def regular_opens(self, days: Times) -> Times:
        """Return the open of the regular session of each day since 1970, or 06:00 UTC, when XNYS is closed, of a day
        without one.
        """
        # 18:00 UTC is in the regular session, or after an early close.
        index = self._session_index(days * DAY_NS + DAY_NS // 2 + DAY_NS // 4)
        in_session = index >= 0
        # The sessions of a day are pre-market, regular and post-market, in this order.
        regular = np.array(
            [
                number - (PRE, REGULAR, POST).index(self._intervals[number].session) + 1
                for number in index[in_session].tolist()
            ],
            np.int64,
        )
        opens = days * DAY_NS + DAY_NS // 4
        opens[in_session] = self._starts[regular]
        return opens

    def _session_index(self, times_ns: Times) -> Times:
        """Return the number of each time's session, -1 outside all."""
        if not len(times_ns):
            return np.empty(0, np.int64)
        self._load_years(int(times_ns.min()), int(times_ns.max()))
        index = np.searchsorted(self._starts, times_ns, side="right") - 1
        return np.where((index >= 0) & (times_ns < self._ends[index]), index, -1)

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


@cache
def session_table(name: Calendar) -> dict[int, SessionTimes]:
    """Return the regular trading hours of each day (yyyymmdd) of the years 1990 to 2050.

    The range is fixed, so that a replay in a later year sees the same sessions.
    """
    if name == "24/7":
        return {
            interval.trading_day: SessionTimes(interval.trading_day, interval.start_ns, interval.end_ns, 0)
            for interval in _continuous_intervals(*_SESSION_YEARS)
        }
    zone, table = ZoneInfo(NEW_YORK), {}
    for start_ns, end_ns, session, day in _xnys_intervals(*_SESSION_YEARS):
        if session == REGULAR:
            offset = datetime.fromtimestamp(start_ns // 1_000_000_000, zone).utcoffset()
            assert offset is not None, "New York has an offset"
            is_early = end_ns - start_ns < _FULL_SESSION_NS
            table[day] = SessionTimes(day, start_ns, end_ns, int(offset.total_seconds()), is_early)
    return table


def _year(ns: int) -> int:
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).year


def _yyyymmdd(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day


def _midnight_ns(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_NS


@lru_cache(maxsize=4)  # shared, because each file of a feed has a calendar object of its own
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
