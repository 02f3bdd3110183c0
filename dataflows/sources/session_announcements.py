"""Add the trading hours of the next session to the time slices of a live feed, as `TradingSession` records."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from operators.stage import TimeSlice
from operators.trading.exchange_sessions import session_record
from operators.trading.sessions import SessionTimes

_FIRST_DAYS = 2


class SessionAnnouncements:
    """Adds the record of a session to the first time slice at or after the open of the session before.

    The very first time slice also has the record of the current session, or of the last one. After a crash, the feed
    continues from its last snapshot and may repeat a record. A repeated record changes nothing.
    """

    def __init__(self, calendar: str, days: Mapping[int, SessionTimes]) -> None:
        self._calendar = calendar
        self._sessions = [days[day] for day in sorted(days)]
        self._opens = [times.open_ns for times in self._sessions]

    def add(self, time_slices: list[TimeSlice], last_ns: int) -> list[TimeSlice]:
        """Return the time slices with the sessions that are due after `last_ns`: the last time slice, -1 if none."""
        out = []
        for time_slice in time_slices:
            ts_ns = time_slice.ts_ns
            # The session after the newest one that is open, so that both are known.
            end = bisect_right(self._opens, ts_ns) + 1
            start = end - _FIRST_DAYS if last_ns < 0 else bisect_right(self._opens, last_ns) + 1
            due = self._sessions[max(start, 0) : end]
            last_ns = ts_ns
            if due:
                records = [*time_slice.records, *(session_record(self._calendar, times, ts_ns) for times in due)]
                time_slice = TimeSlice(ts_ns, records)
            out.append(time_slice)
        return out
