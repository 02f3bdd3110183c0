"""When a live feed closes a time slice, and which time the slice has. Pure: the caller passes the wall clock."""

from __future__ import annotations

from configs.settings import LiveFeedSection
from operators.bar_completion import Minute

SECOND_NS, MILLI_NS, MICRO_NS = 1_000_000_000, 1_000_000, 1_000
RESERVED_NS = 10 * MILLI_NS
"""The end of a minute that is left to commands and other records while the minute waits for its bars."""


class SliceTimes:
    """The times of time slices between the minutes of a live feed. `minute` is the next minute to close.

    The clock never reaches the end of `minute` before its bars: no bar arrives after its clock. It never goes back: if
    the wall clock does, time slices for waiting records follow each other by a microsecond, and heartbeats pause.
    """

    def __init__(self, settings: LiveFeedSection) -> None:
        self._update_ns = settings.clock_ms * MILLI_NS
        self._session_ns = round(settings.clock_session_s * SECOND_NS)
        self._closed_ns = round(settings.clock_closed_s * SECOND_NS)

    def on_demand_ns(self, now_ns: int, clock_ns: int, minute: Minute) -> int | None:
        """Return the time of a slice that is closed at once; None if no time is left before the end of the minute."""
        ts_ns = max(self.event_ns(now_ns, minute), clock_ns + MICRO_NS)
        return ts_ns if ts_ns < minute.ts_ns else None

    def scheduled_ns(self, now_ns: int, clock_ns: int, minute: Minute, *, has_updates: bool) -> int | None:
        """Return the time of the slice that is due without a waiting record: a heartbeat, the open of a session, or,
        with `has_updates`, quotes and trades. None if none is due.
        """
        event_ns = self.event_ns(now_ns, minute)
        return event_ns if event_ns >= self.due_ns(clock_ns, minute, has_updates=has_updates) else None

    def due_ns(self, clock_ns: int, minute: Minute, *, has_updates: bool) -> int:
        """Return when the next such slice is due by the wall clock, if the minute ends later."""
        if clock_ns < 0:
            return 0
        if clock_ns >= minute.open_ns:
            due_ns = clock_ns + self._session_ns
        else:
            due_ns = min(clock_ns + self._closed_ns, minute.open_ns)
        return min(due_ns, clock_ns + self._update_ns) if has_updates else due_ns

    @staticmethod
    def event_ns(now_ns: int, minute: Minute) -> int:
        """Return the event time that corresponds to the wall clock. It stops shortly before the end of the minute."""
        return min(now_ns // MICRO_NS * MICRO_NS, minute.ts_ns - RESERVED_NS)
