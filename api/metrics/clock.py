"""Metric of steps of this machine's clock: lifetimes, schedules and message times depend on it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from prometheus_client.core import Metric

from api.metrics.collector import single

WINDOW_S = 300.0


class ClockMetrics:
    """Compares the wall clock with the monotonic clock at each reading, within the last five minutes.

    A time server that slews the clock changes their difference by at most 0.5 ms per second. A larger change is a step,
    or a machine that was suspended.
    """

    def __init__(
        self, wall_s: Callable[[], float] = time.time, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall_s, self._monotonic_s = wall_s, monotonic_s
        self._differences: deque[tuple[float, float]] = deque()  # (monotonic time, wall clock - monotonic clock)

    def read(self) -> list[Metric]:
        now = self._monotonic_s()
        self._differences.append((now, self._wall_s() - now))
        while self._differences[0][0] < now - WINDOW_S:
            self._differences.popleft()
        differences = [difference for _, difference in self._differences]
        return [
            single(
                "platform_clock_step_seconds",
                "largest change of the wall clock against the monotonic clock within five minutes",
                max(differences) - min(differences),
            )
        ]
