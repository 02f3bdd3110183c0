"""Add wall-clock heartbeats to the log, so that a pure stage can compute how far the log lags."""

from __future__ import annotations

import time
from collections.abc import Callable

from operators.stage import TimeSlice
from schemas.records import HEARTBEAT, Command


class Heartbeat:
    """Appends a signed `HEARTBEAT` command to a time slice every `interval_s` seconds of wall-clock time."""

    def __init__(
        self,
        interval_s: float,
        now_ns: Callable[[], int] = time.time_ns,
        sign: Callable[[Command], Command] = lambda command: command,
    ) -> None:
        self._interval_ns, self._now_ns, self._sign = round(interval_s * 1e9), now_ns, sign
        self._due_ns = 0

    def add(self, time_slices: list[TimeSlice]) -> list[TimeSlice]:
        """Return the same time slices, with a heartbeat in the last one if it is due."""
        now_ns = self._now_ns()
        if not time_slices or now_ns < self._due_ns:
            return time_slices
        self._due_ns = now_ns + self._interval_ns
        ts_ns, records = time_slices[-1]
        heartbeat = Command(
            command_id=f"cmd-heartbeat-{ts_ns}",
            ts_ns=now_ns,
            kind=HEARTBEAT,
            actor="market_data",
            reason="",
            arguments={},
        )
        return [*time_slices[:-1], TimeSlice(ts_ns, [*records, self._sign(heartbeat)])]
