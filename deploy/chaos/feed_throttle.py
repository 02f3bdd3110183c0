"""Keeps the feed from running away from a platform that is being struck, however slow the machine is."""

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

_LOOK_S = 0.1
_BREATH_AFTER_S = 1.0
FEED = "market_data"


class HeldFeed:
    """While it is used as a context manager the feed's process is held (SIGSTOP) whenever it is more than `lead` ticks
    ahead of the slowest dataflow, or of the place where the next fault is due (`go_to`). A held feed is a slow feed:
    nothing may depend on it.

    A process that is stopped may hold messages that it has given out and not sent yet, and the others wait for them: so
    when nobody moves it goes on for a moment.
    """

    def __init__(self, stack: ChaosStack, clocks: Sequence[int], lead: int) -> None:
        self._stack, self._clocks, self._lead = stack, clocks, lead
        self._goal = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._behind = [name for name, service in topology.SERVICES.items() if service.inputs]
        self._reached = dict.fromkeys((FEED, *self._behind), -1)
        self._moved_at = time.monotonic()

    def __enter__(self) -> HeldFeed:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._signal(signal.SIGCONT)

    def go_to(self, tick: int) -> None:
        """The feed may come to this tick, and `lead` beyond."""
        self._goal = tick

    def reached_ns(self) -> int:
        """The last tick of the feed. One that has just been started again, and is held, still stands where it stood."""
        self._reached[FEED] = max(self._reached[FEED], self._stack.passed_ns(FEED))
        return self._reached[FEED]

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            # A supervisor that has ended is found by whoever waits for it, and said there.
            with contextlib.suppress(DeployError):
                self._look()
                self._signal(signal.SIGSTOP if self._runs_away() and not self._all_stand() else signal.SIGCONT)

    def _look(self) -> None:
        before = dict(self._reached)
        for name in self._reached:
            # A process that has just been started again has said nothing yet: it stands where it stood.
            self._reached[name] = max(self._reached[name], self._stack.passed_ns(name))
        if self._reached != before:
            self._moved_at = time.monotonic()

    def _all_stand(self) -> bool:
        """Whether nobody has moved for a while; then not again before another while."""
        stands = time.monotonic() - self._moved_at > _BREATH_AFTER_S
        if stands:
            self._moved_at = time.monotonic()
        return stands

    def _runs_away(self) -> bool:
        slowest = min(self._reached[name] for name in self._behind)
        return self._at(self._reached[FEED]) - min(self._goal, self._at(slowest)) > self._lead

    def _at(self, ts_ns: int) -> int:
        return bisect_right(self._clocks, ts_ns)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._stack.children(FEED):
            if child.identity is not None and child.identity.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.identity.pid, number)
