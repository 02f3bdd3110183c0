"""Limit requests per minute and reserve some of them for cancels."""

from __future__ import annotations

import threading
from collections import deque

import structlog

log = structlog.get_logger(__name__)

RESERVED_FOR_CANCELS = 20
LEAST_LIMIT = 100
"""Lowest limit that reports of too many requests lead to."""
_MINUTE_S = 60.0


class RequestBudget:
    """A sliding window of one minute. Call `allows` before a request and `record` after it was sent.

    Threads may share it: the kill switch records its requests here, so that the others leave room for them.
    """

    def __init__(self, requests_per_minute: int) -> None:
        self._limit = requests_per_minute
        self._lock = threading.Lock()
        self._sent: deque[float] = deque()
        self._paused_until_s = 0.0

    def allows(self, now_s: float, *, cancel: bool = False) -> bool:
        with self._lock:
            while self._sent and self._sent[0] <= now_s - _MINUTE_S:
                self._sent.popleft()
            limit = self._limit if cancel else max(1, self._limit - RESERVED_FOR_CANCELS)
            return now_s >= self._paused_until_s and len(self._sent) < limit

    def record(self, now_s: float, requests: int = 1) -> None:
        with self._lock:
            self._sent.extend([now_s] * requests)

    def throttled(self, now_s: float, wait_s: float) -> None:
        """The broker reported too many requests: allow nothing for `wait_s`, and from then on fewer per minute.

        The new limit is nine tenths of the requests of the last minute. With a setting above the broker's limit, each
        request would count against it, and cancels and the kill switch would be rejected too.
        """
        with self._lock:
            sent = sum(sent_s > now_s - _MINUTE_S for sent_s in self._sent)
            reduced = max(LEAST_LIMIT, sent * 9 // 10)
            if reduced < self._limit:
                log.warning("the broker accepts fewer requests a minute", limit=self._limit, reduced=reduced)
                self._limit = reduced
        self.pause_until(now_s + wait_s)

    def pause_until(self, until_s: float) -> None:
        """Allow nothing until `until_s`."""
        self._paused_until_s = max(self._paused_until_s, until_s)
