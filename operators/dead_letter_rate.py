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
    `ticks` ticks once it is `least` records. None is no limit.
    """

    per_minute: int | None = 100
    share: float | None = 0.2
    ticks: int = 60
    least: int = 20


class DeadLetterRate:
    """Folds one reader's ticks in. `start` is the snapshot of an earlier one."""

    def __init__(self, limits: RateLimits, start: Any = None) -> None:
        self._limits, self._released_ns = limits, -1
        self._minute: deque[tuple[int, int]] = deque()  # (ts_ns, set aside) of ticks that set anything aside
        self._ticks: deque[tuple[int, int]] = deque(maxlen=limits.ticks)  # (taken, set aside)
        self._taken = self._aside = 0
        if start is not None:
            version, minute, ticks = start
            assert version == VERSION, f"state of a dead letter rate of version {version}, expected {VERSION}"
            self._minute.extend(minute)
            for taken, aside in ticks:
                self._count(taken, aside)

    def fold(self, ts_ns: int, taken: int, aside: int) -> str | None:
        """Count one tick. Returns what is wrong where it goes over a limit."""
        if ts_ns <= self._released_ns:
            return None
        self._count(taken, aside)
        if not aside:
            return None
        limits, minute = self._limits, self._minute
        minute.append((ts_ns, aside))
        while minute[0][0] <= ts_ns - _MINUTE_NS:
            minute.popleft()
        within = sum(count for _, count in minute)
        if limits.per_minute is not None and within > limits.per_minute:
            return f"{within} records set aside within a minute, limit {limits.per_minute}"
        share = self._aside / (self._aside + self._taken)
        if limits.share is not None and self._aside >= limits.least and share > limits.share:
            return f"{share:.1%} of the records of {len(self._ticks)} ticks set aside, limit {limits.share:.1%}"
        return None

    def release(self, upto_ns: int) -> None:
        """What was counted so far has been looked at, and ticks up to `upto_ns` are let through."""
        self._released_ns = upto_ns
        self._minute.clear()
        self._ticks.clear()
        self._taken = self._aside = 0

    def _count(self, taken: int, aside: int) -> None:
        ticks = self._ticks
        if len(ticks) == ticks.maxlen:
            first_taken, first_aside = ticks[0]
            self._taken -= first_taken
            self._aside -= first_aside
        ticks.append((taken, aside))
        self._taken += taken
        self._aside += aside

    def snapshot(self) -> Any:
        return (VERSION, list(self._minute), list(self._ticks))
