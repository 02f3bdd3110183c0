"""How far a run is: by the time slices of a tape, or by the clock of a live feed."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from deploy.chaos.stack import ChaosStack
from deploy.chaos.throttled_feed import FEED, LEAD_SLICES_MAX, ThrottledFeed
from deploy.errors import DeployError


class Pace(Protocol):
    """Places the faults. A share of the run is from 0 to 1."""

    def go_to(self, share: float) -> None:
        """Wait until the run has reached this share. Raises DeployError if no dataflow makes progress."""
        ...

    def advance(self, slices: int) -> None:
        """Let the feed publish this number of time slices, so that commands take effect. Raises DeployError."""
        ...

    def allow(self, slices: int) -> None:
        """Allow the feed to publish this number of time slices, and do not wait for them."""
        ...

    def place_ns(self, share: float) -> int:
        """Return the event time at this share."""
        ...

    def released(self) -> AbstractContextManager[None]:
        """Do not pause the feed during the block, so that its process can be stopped."""
        ...


class TapePace:
    """The pace of a tape, whose feed pauses before the next fault. `clocks` are the event times of its time slices."""

    def __init__(self, stack: ChaosStack, feed: ThrottledFeed, clocks: Sequence[int]) -> None:
        self._stack, self._feed, self._clocks = stack, feed, clocks
        self.released: Callable[[], AbstractContextManager[None]] = feed.released

    def go_to(self, share: float) -> None:
        self._wait_for(self._index(share), allowed=self._index(share))

    def advance(self, slices: int) -> None:
        index = bisect_right(self._clocks, self._feed.reached_ns()) + slices
        if index >= len(self._clocks):
            raise DeployError(f"the tape ends before {slices} more time slices; use a longer tape (--minutes)")
        # The feed may lead by as many time slices.
        self._wait_for(index, allowed=index - LEAD_SLICES_MAX)

    def allow(self, slices: int) -> None:
        self._feed.allow_until(bisect_right(self._clocks, self._feed.reached_ns()) + slices - LEAD_SLICES_MAX)

    def place_ns(self, share: float) -> int:
        return self._clocks[self._index(share)]

    def _index(self, share: float) -> int:
        return int(share * len(self._clocks))

    def _wait_for(self, index: int, *, allowed: int) -> None:
        self._feed.allow_until(allowed)
        due_ns = self._clocks[index]
        self._stack.wait_until(lambda: self._feed.reached_ns() >= due_ns, f"the feed at {due_ns}")


class LivePace:
    """The pace of a live feed that publishes a time slice per second, for `seconds`."""

    def __init__(self, stack: ChaosStack, seconds: float) -> None:
        self._stack, self._seconds, self._started_s = stack, seconds, time.time()

    def go_to(self, share: float) -> None:
        time.sleep(max(0.0, self._started_s + share * self._seconds - time.time()))

    def advance(self, slices: int) -> None:
        # After a restart, the feed has not reported yet.
        self._stack.wait_until(lambda: self._stack.passed_ns(FEED) >= 0, "the feed")
        due_ns = self._stack.passed_ns(FEED) + slices * 10**9
        self._stack.wait_until(lambda: self._stack.passed_ns(FEED) >= due_ns, f"the feed at {due_ns}")

    def allow(self, slices: int) -> None:
        """Do nothing: a live feed never pauses."""

    def place_ns(self, share: float) -> int:
        return int((self._started_s + share * self._seconds) * 1e9)

    @contextmanager
    def released(self) -> Iterator[None]:
        yield
