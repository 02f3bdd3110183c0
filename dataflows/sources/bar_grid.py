"""Grid of bars: the open of the bar that a row's time stands for, by interval and calendar.

Bars that divide half an hour (XNYS) or a day (24/7) start at multiples of their length. Longer bars of XNYS start at
the start of their session, so that hourly bars are 09:30, 10:30 … 15:30, the last one with half an hour. A daily bar is
the regular session of its day.
"""

from __future__ import annotations

import numpy as np

from dataflows.sources.row_times import DAY_NS, SECOND_NS, Ints, LocalTimeZone, Mask
from dataflows.sources.trading_calendar import NEW_YORK, TradingCalendar
from operators.bar_completion import DAY_S, HALF_HOUR_S, FeedSettings, interval_text

DEFAULT_INTERVAL_S = 60


class BarGrid:
    """Maps times of rows to opens of bars. `zone` is the zone of times without one."""

    def __init__(self, settings: FeedSettings, zone: LocalTimeZone) -> None:
        interval_s = settings.interval_s or DEFAULT_INTERVAL_S
        self.interval_ns = interval_s * SECOND_NS
        self._interval_s = interval_s
        self._is_daily = interval_s == DAY_S
        self._is_close = settings.time_is == "close"
        tile_s = HALF_HOUR_S if settings.calendar == "XNYS" else DAY_S
        self._has_sessions = settings.calendar == "XNYS"
        self._is_even = not self._is_daily and tile_s % interval_s == 0
        self._zone, self._exchange_zone = zone, LocalTimeZone(NEW_YORK)
        self._calendar = TradingCalendar(settings.calendar)

    def open_ns(self, time_ns: int) -> tuple[int, str]:
        """Return the open of one row's bar and "", or what its time must be."""
        opens, on_grid = self.opens_ns(np.array([time_ns], np.int64))
        if on_grid[0]:
            return int(opens[0]), ""
        if self._is_even:
            return 0, f"a multiple of {interval_text(self._interval_s)}, the interval of the bars (--interval)"
        edge = "end" if self._is_close else "start"
        return 0, f"the {edge} of a bar of {interval_text(self._interval_s)} from the start of its session"

    def opens_ns(self, times_ns: Ints) -> tuple[Ints, Mask]:
        """Return `(opens of the bars, time is on the grid)`. A time outside all sessions is on the grid."""
        if self._is_even:
            return times_ns - self.interval_ns * self._is_close, times_ns % self.interval_ns == 0
        if self._is_daily:
            return self._days(times_ns), np.ones(len(times_ns), np.bool_)
        inside = times_ns - 1 if self._is_close else times_ns
        starts, ends = self._calendar.session_bounds(inside)
        opens = starts + (inside - starts) // self.interval_ns * self.interval_ns
        on_grid = (np.minimum(opens + self.interval_ns, ends) if self._is_close else opens) == times_ns
        is_closed = starts < 0
        return np.where(is_closed, inside, opens), on_grid | is_closed

    def _days(self, times_ns: Ints) -> Ints:
        """Return the open of the regular session of each row's day, or midnight UTC of a day without one.

        A row of a day is dated by midnight, of UTC or of the zone of its times, or by a time of day in New York.
        """
        inside = times_ns - 1 if self._is_close else times_ns
        local_ns = self._zone.from_utc(inside)
        is_midnight = times_ns % DAY_NS == 0
        is_local_midnight = self._zone.from_utc(times_ns) % DAY_NS == 0
        exchange_ns = self._exchange_zone.from_utc(inside) if self._has_sessions else inside
        days = np.where(is_midnight, inside, np.where(is_local_midnight, local_ns, exchange_ns)) // DAY_NS
        return self._calendar.regular_opens(days) if self._has_sessions else days * DAY_NS
