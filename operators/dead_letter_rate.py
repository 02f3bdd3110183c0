"""Detect a rate of dead letters so high that the remaining records must not be used for trading.

The rate is counted over time slices and depends only on the logs. A restart and a replay detect it at the same time
slice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

VERSION = 1
_MINUTE_NS = 60_000_000_000


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """Limits of the dead-letter rate. None is no limit.

    per_minute  [dead letters] maximum number of dead letters within a minute of event time
    share       [fraction] maximum share of dead letters among the records of the last `ticks` time slices
    ticks       [time slices] number of time slices over which `share` is computed
    least       [dead letters] number of dead letters below which `share` is not checked
    """

    per_minute: int | None = 100
    share: float | None = 0.2
    ticks: int = 60
    least: int = 20


class DeadLetterRate:
    """Count the dead letters of one reader. `snapshot` is the snapshot of an earlier instance, or None."""

    def __init__(self, limits: RateLimits, snapshot: Any = None) -> None:
        self._limits, self._released_ns = limits, -1
        self._last_minute: deque[tuple[int, int]] = deque()  # (ts_ns, number of dead letters), without zeros
        self._slices: deque[tuple[int, int]] = deque(maxlen=limits.ticks)  # (accepted, dead letters)
        self._accepted = self._rejected = 0
        if snapshot is not None:
            version, last_minute, slices = snapshot
            assert version == VERSION, f"dead letter rate snapshot: version {version}, expected {VERSION}"
            self._last_minute.extend(last_minute)
            for accepted, rejected in slices:
                self._count(accepted, rejected)

    def fold(self, ts_ns: int, accepted: int, rejected: int) -> str | None:
        """Count one time slice. Return a message if a limit is exceeded, otherwise None."""
        if ts_ns <= self._released_ns:
            return None
        self._count(accepted, rejected)
        if not rejected:
            return None
        limits, last_minute = self._limits, self._last_minute
        last_minute.append((ts_ns, rejected))
        while last_minute[0][0] <= ts_ns - _MINUTE_NS:
            last_minute.popleft()
        minute_count = sum(count for _, count in last_minute)
        if limits.per_minute is not None and minute_count > limits.per_minute:
            return f"{minute_count} dead letters within a minute, limit {limits.per_minute}"
        share = self._rejected / (self._rejected + self._accepted)
        if limits.share is not None and self._rejected >= limits.least and share > limits.share:
            return f"{share:.1%} dead letters in the last {len(self._slices)} time slices, limit {limits.share:.1%}"
        return None

    def release(self, up_to_ns: int) -> None:
        """Reset the counts after a review, and ignore the dead letters of time slices up to `up_to_ns`."""
        self._released_ns = up_to_ns
        self._last_minute.clear()
        self._slices.clear()
        self._accepted = self._rejected = 0

    def _count(self, accepted: int, rejected: int) -> None:
        slices = self._slices
        if len(slices) == slices.maxlen:
            first_accepted, first_rejected = slices[0]
            self._accepted -= first_accepted
            self._rejected -= first_rejected
        slices.append((accepted, rejected))
        self._accepted += accepted
        self._rejected += rejected

    def snapshot(self) -> Any:
        return (VERSION, list(self._last_minute), list(self._slices))
