"""Throttle the feed, so that it does not run ahead of a platform with faults, even on a slow machine."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from types import TracebackType

from dataflows.runtime import topology
from deploy.chaos.stack import ChaosStack
from deploy.errors import DeployError

_POLL_S = 0.1
_RESUME_AFTER_S = 1.0
FEED = "market_data"


class ThrottledFeed:
    """A context manager that pauses the feed's process (SIGSTOP) when it is too far ahead.

    Too far is more than `lead_max` time slices ahead of the slowest dataflow, or of the place of the next fault
    (`allow_until`). A paused feed is a slow feed, which must not change any result.

    A paused process may hold messages that it has not sent yet and that others wait for. If no dataflow makes progress,
    the feed therefore resumes for a moment.
    """

    def __init__(self, stack: ChaosStack, clocks: Sequence[int], lead_max: int) -> None:
        self._stack, self._clocks, self._lead_max = stack, clocks, lead_max
        self._allowed_index = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._followers = [name for name, service in topology.SERVICES.items() if service.inputs]
        self._reached_ns = dict.fromkeys((FEED, *self._followers), -1)
        self._progressed_at = time.monotonic()

    def __enter__(self) -> ThrottledFeed:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._signal(signal.SIGCONT)

    def allow_until(self, index: int) -> None:
        """Allow the feed to reach this time slice, plus `lead_max`."""
        self._allowed_index = index

    def reached_ns(self) -> int:
        """Return the last clock of the feed. After a restart, this is the previous clock until the feed reports one."""
        self._reached_ns[FEED] = max(self._reached_ns[FEED], self._stack.passed_ns(FEED))
        return self._reached_ns[FEED]

    def _watch(self) -> None:
        while not self._stopped.wait(_POLL_S):
            # If the supervisor has exited, the code that waits for it reports the error.
            with contextlib.suppress(DeployError):
                self._update()
                self._signal(signal.SIGSTOP if self._is_too_far_ahead() and not self._is_stalled() else signal.SIGCONT)

    def _update(self) -> None:
        previous = dict(self._reached_ns)
        for name in self._reached_ns:
            # A process that has just been restarted has not reported yet: keep its previous clock.
            self._reached_ns[name] = max(self._reached_ns[name], self._stack.passed_ns(name))
        if self._reached_ns != previous:
            self._progressed_at = time.monotonic()

    def _is_stalled(self) -> bool:
        """Whether no dataflow made progress for `_RESUME_AFTER_S`. Returns true at most once per such interval."""
        is_stalled = time.monotonic() - self._progressed_at > _RESUME_AFTER_S
        if is_stalled:
            self._progressed_at = time.monotonic()
        return is_stalled

    def _is_too_far_ahead(self) -> bool:
        slowest = min(self._reached_ns[name] for name in self._followers)
        return (
            self._index_of(self._reached_ns[FEED]) - min(self._allowed_index, self._index_of(slowest)) > self._lead_max
        )

    def _index_of(self, ts_ns: int) -> int:
        return bisect_right(self._clocks, ts_ns)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._stack.children(FEED):
            if child.identity is not None and child.identity.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.identity.pid, number)
