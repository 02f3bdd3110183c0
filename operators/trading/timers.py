"""When the scheduled handlers of a strategy run."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from operators.strategies.trading_strategy import AFTER_OPEN, BEFORE_CLOSE, EVERY, TIME_OF_DAY, Schedule
from operators.trading.intervals import MINUTE_NS
from operators.trading.sessions import SessionTimes


class DailyTimer:
    """A handler with `at`. It is due once in each session, and runs in the first time slice from then on."""

    def __init__(self, schedule: Schedule, days: Mapping[int, SessionTimes]) -> None:
        assert schedule.kind != EVERY, "EVERY has its own timer"
        self.schedule = schedule
        self.set_days(days)
        self._last_ns = -1  # the last time slice

    def set_days(self, days: Mapping[int, SessionTimes]) -> None:
        """Use other trading hours from now on."""
        times = (_due_ns(self.schedule, times) for times in days.values())
        self._times = sorted(due for due in times if due is not None)

    def is_due(self, ts_ns: int) -> bool:
        """Whether the handler runs in this time slice. Call once for each time slice."""
        last, self._last_ns = self._last_ns, ts_ns
        if last < 0:
            last = ts_ns - 1  # the first time slice
        index = bisect_left(self._times, last + 1)
        return index < len(self._times) and self._times[index] <= ts_ns

    def next_ns(self) -> int | None:
        """Return when the handler is due next; None if it is not due on the known days."""
        index = bisect_left(self._times, self._last_ns + 1)
        return self._times[index] if index < len(self._times) else None

    def snapshot(self) -> Any:
        return self._last_ns

    def restore(self, snapshot: Any) -> None:
        self._last_ns = snapshot


def _due_ns(schedule: Schedule, times: SessionTimes) -> int | None:
    """Return when a handler is due on a day; None if the time does not occur on it."""
    if schedule.kind == AFTER_OPEN:
        due = times.open_ns + schedule.minutes * MINUTE_NS
        return due if due <= times.close_ns else None
    if schedule.kind == BEFORE_CLOSE:
        due = times.close_ns - schedule.minutes * MINUTE_NS
        return due if due >= times.open_ns else None
    assert schedule.kind == TIME_OF_DAY, f"unknown kind {schedule.kind}"
    due = times.local_time_ns(schedule.minutes)
    return None if times.early_close and due > times.close_ns else due


class IntervalTimer:
    """A handler with `every`. It is due at the end of each interval of a session, counted from its open."""

    def __init__(self, every_ns: int) -> None:
        self._every_ns = every_ns
        self._last_ns = -1  # the last end of an interval, or the open

    def is_due(self, ts_ns: int, open_ns: int) -> bool:
        """Whether the handler runs in this time slice, of a session that opened at `open_ns`."""
        end = ts_ns - (ts_ns - open_ns) % self._every_ns
        last, self._last_ns = self._last_ns, max(end, self._last_ns)
        if last < 0:
            return end == ts_ns and end > open_ns  # the first time slice
        return end > last and end > open_ns

    def snapshot(self) -> Any:
        return self._last_ns

    def restore(self, snapshot: Any) -> None:
        self._last_ns = snapshot
