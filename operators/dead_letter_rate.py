"""Says when so much of a flow is set aside that what is left must not be acted on.

Counted over ticks, so that it follows from the logs alone: a restart and a replay come to it at the same tick.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

VERSION = 1
_MINUTE_NS = 60_000_000_000


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """What may be set aside: so many records within a minute of event time, and such a share of the records of the last
    `slices` ticks once it is `least` records. None is no limit.
    """

    per_minute: int | None = 100
    share: float | None = 0.2
    ticks: int = 60
    least: int = 20


class DeadLetterRate:
    """Folds one reader's ticks in. `snapshot` is the snapshot of an earlier one."""

    def __init__(self, limits: RateLimits, snapshot: Any = None) -> None:
        self._limits, self._released_ns = limits, -1
        self._last_minute: deque[tuple[int, int]] = deque()  # (ts_ns, set aside) of ticks that set anything aside
        self._slices: deque[tuple[int, int]] = deque(maxlen=limits.ticks)  # (taken, set aside)
        self._accepted = self._rejected = 0
        if snapshot is not None:
            version, last_minute, slices = snapshot
            assert version == VERSION, f"state of a dead letter rate of version {version}, expected {VERSION}"
            self._last_minute.extend(last_minute)
            for accepted, rejected in slices:
                self._count(accepted, rejected)

    def fold(self, ts_ns: int, accepted: int, rejected: int) -> str | None:
        """Count one tick. Returns what is wrong where it goes over a limit."""
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
            return f"{minute_count} records set aside within a minute, limit {limits.per_minute}"
        share = self._rejected / (self._rejected + self._accepted)
        if limits.share is not None and self._rejected >= limits.least and share > limits.share:
            return f"{share:.1%} of the records of {len(self._slices)} ticks set aside, limit {limits.share:.1%}"
        return None

    def release(self, up_to_ns: int) -> None:
        """What was counted so far has been looked at, and ticks up to `up_to_ns` are let through."""
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
