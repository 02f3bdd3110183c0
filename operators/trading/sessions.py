"""The trading hours that strategies see, and the time from which the bars of a session are counted.

The stage reads no calendar: the trading hours of each day come from records, else from its caller. For a day without
trading hours, the first bar of a session marks its open, and its close is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from operators.trading.intervals import DAY_NS, MINUTE_NS
from schemas.records import CONTINUOUS, POST, REGULAR, Bar, SessionPhase

VERSION = 1
FIRST_BARS_MAX = 16
"""Number of sessions whose first bar is remembered."""


class SessionTimes(NamedTuple):
    """The regular trading hours of an exchange on one day (yyyymmdd). `utc_offset_s` is that of its local time."""

    day: int
    open_ns: int
    close_ns: int
    utc_offset_s: int
    early_close: bool = False

    def local_time_ns(self, minutes: int) -> int:
        """Return the time that is `minutes` after midnight on this day in the exchange's local time."""
        return (day_number(self.day) - _EPOCH_DAY) * DAY_NS + minutes * MINUTE_NS - self.utc_offset_s * 1_000_000_000


SessionTable = Mapping[str, Mapping[int, SessionTimes]]
"""Trading hours by the name of the calendar and by day."""


class SessionBounds(NamedTuple):
    """The start of a session, from which its bars are counted, and its end; None if it is unknown."""

    open_ns: int
    close_ns: int | None


class Session(NamedTuple):
    """The session of the newest bar, for strategies.

    `minutes_to_close` is None if the trading hours are unknown. Before the open `minutes_since_open` is negative.
    """

    day: int  # yyyymmdd
    phase: SessionPhase
    open_ns: int
    close_ns: int | None
    minutes_since_open: int
    minutes_to_close: int | None
    early_close: bool


def day_number(yyyymmdd: int) -> int:
    """Return the proleptic ordinal of a day.

    >>> day_number(20240102) - day_number(20231231)
    2
    """
    return date(yyyymmdd // 10_000, yyyymmdd // 100 % 100, yyyymmdd % 100).toordinal()


def week_number(yyyymmdd: int) -> int:
    """Return the number of the week, which starts on Monday.

    >>> week_number(20240107) - week_number(20240101), week_number(20240108) - week_number(20240107)
    (0, 1)
    """
    return (day_number(yyyymmdd) - 1) // 7


_EPOCH_DAY = day_number(19700101)


class SessionClock:
    """Find the bounds of the session of a bar."""

    def __init__(self, days: Mapping[int, SessionTimes]) -> None:
        self._days = days
        self._last_days = _last_days_of_weeks(days)
        self._first_bars: dict[tuple[int, str], int] = {}  # (day, phase) -> start of the first bar

    def set_days(self, days: Mapping[int, SessionTimes]) -> None:
        """Use other trading hours from now on."""
        self._days, self._last_days = days, _last_days_of_weeks(days)

    def bounds(self, bar: Bar) -> SessionBounds:
        """Return the bounds of the bar's session. A session of 24 hours starts at midnight UTC."""
        if bar.session == CONTINUOUS:
            start = bar.open_ns - bar.open_ns % DAY_NS
            return SessionBounds(start, start + DAY_NS)
        times = self._days.get(bar.trading_day)
        if bar.session == REGULAR and times is not None:
            return SessionBounds(times.open_ns, times.close_ns)
        if bar.session == POST and times is not None:
            return SessionBounds(times.close_ns, None)
        key = (bar.trading_day, bar.session)
        first = self._first_bars.get(key)
        if first is None:
            first = self._first_bars[key] = bar.open_ns
            if len(self._first_bars) > FIRST_BARS_MAX:
                del self._first_bars[next(iter(self._first_bars))]
        return SessionBounds(first, None if times is None else times.open_ns)

    def ends_week(self, bar: Bar) -> bool:
        """Whether the session of the bar is known to be the last one of its week."""
        if bar.session == CONTINUOUS:
            return day_number(bar.trading_day) % 7 == 0  # ordinal 1 is a Monday
        return bar.trading_day in self._last_days

    def session(self, ts_ns: int, bar: Bar) -> Session:
        """Return the session of `bar` as strategies see it at `ts_ns`."""
        open_ns, close_ns = self.bounds(bar)
        times = self._days.get(bar.trading_day) if bar.session != CONTINUOUS else None
        if times is not None:
            open_ns, close_ns = times.open_ns, times.close_ns
        return Session(
            day=bar.trading_day,
            phase=bar.session,
            open_ns=open_ns,
            close_ns=close_ns,
            minutes_since_open=(ts_ns - open_ns) // MINUTE_NS,
            minutes_to_close=None if close_ns is None else (close_ns - ts_ns) // MINUTE_NS,
            early_close=times is not None and times.early_close,
        )

    def snapshot(self) -> Any:
        return (VERSION, list(self._first_bars.items()))

    def restore(self, snapshot: Any) -> None:
        version, first_bars = snapshot
        assert version == VERSION, f"session clock snapshot: version {version}, expected {VERSION}"
        self._first_bars = {tuple(key): start for key, start in first_bars}


_SHARED_MAX = 4
_shared: list[tuple[Mapping[int, SessionTimes], frozenset[int]]] = []
"""The last days of recent tables: thousands of clocks read the same table, which is never changed."""


def _last_days_of_weeks(days: Mapping[int, SessionTimes]) -> frozenset[int]:
    """Return the last session of each week. The newest week is left out, because it may be incomplete."""
    if not days:
        return frozenset()
    for table, found in _shared:
        if table is days:
            return found
    found = _find_last_days(days)
    _shared.append((days, found))
    del _shared[:-_SHARED_MAX]
    return found


def _find_last_days(days: Mapping[int, SessionTimes]) -> frozenset[int]:
    last_days: dict[int, int] = {}
    for day in sorted(days):
        last_days[week_number(day)] = day
    if last_days and day_number(max(days)) % 7 not in (5, 6, 0):
        del last_days[max(last_days)]
    return frozenset(last_days.values())
