"""Throttle the feed, so that it does not run ahead of a platform with faults, even on a slow machine."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from types import TracebackType

from dataflows.runtime import topology
from deploy.chaos.stack import ChaosStack
from deploy.errors import DeployError

_POLL_S = 0.1
_RESUME_AFTER_S = 1.0
_REPORT_AFTER_S, _REPORT_WITHIN_S = 3.0, 3.0
"""A process without a report for 5 s counts as unhealthy."""
FEED = "market_data"
LEAD_SLICES_MAX = 15
"""Maximum lead of the feed over the slowest dataflow in time slices, so that faults hit a busy platform."""


class ThrottledFeed:
    """A context manager that pauses the feed's process (SIGSTOP) when it is too far ahead.

    Too far is more than `lead_max` time slices ahead of the slowest dataflow, or of the place of the next fault
    (`allow_until`). A paused feed is a slow feed, which must not change any result.

    A paused process may hold messages that it has not sent yet and that others wait for. If no dataflow makes progress,
    the feed therefore resumes for a moment. If all others have reached it, or if it is so far ahead that a dataflow
    must be dead, it resumes less often and only until its next report, to stay healthy: a fault that takes long must
    not use up the tape. A process that has just started is not paused before its first report: the start waits for it.
    """

    def __init__(self, stack: ChaosStack, clocks: Sequence[int], lead_max: int) -> None:
        self._stack, self._clocks, self._lead_max = stack, clocks, lead_max
        self._allowed_index = 0
        self._is_released, self._report_until = False, 0.0
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

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Do not pause the feed during the block, so that its process can be stopped."""
        self._is_released = True
        try:
            yield
        finally:
            self._is_released = False

    def reached_ns(self) -> int:
        """Return the last clock of the feed. After a restart, this is the previous clock until the feed reports one."""
        self._reached_ns[FEED] = max(self._reached_ns[FEED], self._stack.passed_ns(FEED))
        return self._reached_ns[FEED]

    def _watch(self) -> None:
        while not self._stopped.wait(_POLL_S):
            # If the supervisor has exited, the code that waits for it reports the error.
            with contextlib.suppress(DeployError):
                self._update()
                lead, lag = self._lead_and_lag()
                is_paused = lead > self._lead_max and not self._must_report() and not self._is_stalled(lead, lag)
                self._signal(signal.SIGSTOP if is_paused and not self._is_released else signal.SIGCONT)

    def _update(self) -> None:
        previous = dict(self._reached_ns)
        for name in self._reached_ns:
            # A process that has just been restarted has not reported yet: keep its previous clock.
            self._reached_ns[name] = max(self._reached_ns[name], self._stack.passed_ns(name))
        if self._reached_ns != previous:
            self._progressed_at = time.monotonic()
        if self._reached_ns[FEED] != previous[FEED]:
            self._report_until = 0.0

    def _must_report(self) -> bool:
        """Whether the feed has not reported since its start, or since it resumed for a report."""
        return self._stack.passed_ns(FEED) < 0 or time.monotonic() < self._report_until

    def _is_stalled(self, lead: int, lag: int) -> bool:
        """Whether no dataflow made progress for an interval. Return true at most once per interval."""
        may_wait_for_feed = lag > 0 and lead <= 2 * self._lead_max
        interval_s, now_s = _RESUME_AFTER_S if may_wait_for_feed else _REPORT_AFTER_S, time.monotonic()
        is_stalled = now_s - self._progressed_at > interval_s
        if is_stalled:
            self._progressed_at = now_s
            self._report_until = 0.0 if may_wait_for_feed else now_s + _REPORT_WITHIN_S
        return is_stalled

    def _lead_and_lag(self) -> tuple[int, int]:
        """Return the number of time slices from what is allowed to the feed, and from the slowest dataflow to it."""
        reached = self._index_of(self._reached_ns[FEED])
        slowest = self._index_of(min(self._reached_ns[name] for name in self._followers))
        return reached - min(self._allowed_index, slowest), reached - slowest

    def _index_of(self, ts_ns: int) -> int:
        return bisect_right(self._clocks, ts_ns)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._stack.children(FEED):
            if child.identity is not None and child.identity.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.identity.pid, number)
