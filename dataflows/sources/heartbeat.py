"""What the wall clock shows, put into the log now and then, so that a pure stage can tell how far the log is behind."""

from __future__ import annotations

import time
from collections.abc import Callable

from operators.stage import TimeSlice
from schemas.records import HEARTBEAT, Command


class Heartbeat:
    """A `HEARTBEAT` command behind a tick's records every `interval_s` seconds of wall-clock time."""

    def __init__(self, interval_s: float, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._interval_ns, self._now_ns = round(interval_s * 1e9), now_ns
        self._due_ns = 0

    def add(self, time_slices: list[TimeSlice]) -> list[TimeSlice]:
        """The same ticks, the last of them with a heartbeat where one is due."""
        now_ns = self._now_ns()
        if not time_slices or now_ns < self._due_ns:
            return time_slices
        self._due_ns = now_ns + self._interval_ns
        ts_ns, records = time_slices[-1]
        heartbeat = Command(f"cmd-heartbeat-{ts_ns}", now_ns, HEARTBEAT, "market_data", "", {})
        return [*time_slices[:-1], TimeSlice(ts_ns, [*records, heartbeat])]
