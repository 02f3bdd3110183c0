"""Bytewax source of a market feed: one partition that emits lists of time slices, paced, resumable and stoppable."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition

from dataflows.runtime.stats import Stats
from dataflows.runtime.topology import FEED_SHARD
from dataflows.sources.heartbeat import Heartbeat
from dataflows.sources.session_announcements import SessionAnnouncements
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import DeadLetter

STATE_VERSION = 1
SLEEP_NS_MAX = 100_000_000  # bounds how long a stop waits for the next call
_BEHIND_NS_MAX = 1_000_000_000  # a feed that is further behind its speed does not catch up
IMMEDIATELY = datetime(1970, 1, 1, tzinfo=UTC)


FeedSlices = tuple[str, list[TimeSlice]]
"""(FEED_SHARD, time slices in order)."""


class MarketFeed(Protocol):
    """The interface of `FileFeed`, `Simulator` and `LiveFeed`."""

    @property
    def interval_ns(self) -> int: ...

    @property
    def finished(self) -> bool: ...

    def take(self, count: int) -> list[TimeSlice]: ...

    def due_ns(self) -> int | None: ...

    def state(self) -> dict[str, Any]: ...

    def resume(self, state: dict[str, Any] | None) -> MarketFeed: ...


class FeedSource(FixedPartitionedSource[FeedSlices, dict[str, Any]]):
    """Items are `(FEED_SHARD, time slices)` with at most `batch_slices` slices, in order. `stats` reports the progress.

    - `speed`: None emits time slices as fast as they are consumed. N emits one per interval / N of wall-clock time;
      nights and weekends have no time slices and pass at once. Event time stays the feed's. A feed that is more than
      a second behind, because its process was suspended, continues at its speed instead of catching up.
    - `at_end`: "stop" ends the dataflow, "idle" keeps it running without items.
    - `sessions` adds the trading hours of the sessions ahead. The progress does not count them.
    - `stop_requested` is called for each batch. Once it is true, the source emits nothing more; after the next
      snapshot the worker exits with `AbortExecution` and nothing to replay.
    - `sleep` waits for the seconds until a time slice is due, or less if there is a reason for one earlier.
    - `on_resume` receives the last time slice of the snapshot, -1 without one.
    """

    def __init__(
        self,
        open_feed: Callable[[], MarketFeed],
        *,
        batch_slices: int = 64,
        speed: float | None = None,
        at_end: str = "stop",
        stop_requested: Callable[[], bool] = lambda: False,
        now_ns: Callable[[], int] = time.time_ns,
        stats: Stats | None = None,
        heartbeat: Heartbeat | None = None,
        sessions: SessionAnnouncements | None = None,
        sleep: Callable[[float], None] = time.sleep,
        on_resume: Callable[[int], None] = lambda last_slice_ns: None,
    ) -> None:
        if speed is not None and not speed > 0:
            raise BadInput(f"feed speed must be > 0, found {speed}")
        if at_end not in ("stop", "idle") or batch_slices < 1:
            raise BadInput(f"at_end must be stop or idle and batch_slices >= 1, found {at_end!r} and {batch_slices}")
        self._open_feed = open_feed
        self._options = (batch_slices, speed, at_end, stop_requested, now_ns, stats or Stats("market_data", None))
        self._heartbeat, self._sessions, self._sleep = heartbeat, sessions, sleep
        self._on_resume = on_resume
        self._partition: FeedPartition | None = None

    def list_parts(self) -> list[str]:
        return [FEED_SHARD]

    def open_feed(self) -> MarketFeed:
        """Return a new feed, before its first time slice."""
        return self._open_feed()

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, Any] | None) -> FeedPartition:
        assert for_part == FEED_SHARD, for_part
        feed = self._open_feed()
        if resume_state is not None:
            self._check_same_feed(type(feed).__name__, resume_state)
            feed = feed.resume(resume_state["feed"])
        # A restarted feed reports its last time slice even if it has nothing left to emit.
        last_slice_ns = -1 if resume_state is None else resume_state.get("last_tick_ns", -1)
        self._on_resume(last_slice_ns)
        self._partition = FeedPartition(
            feed, *self._options, last_slice_ns, self._heartbeat, self._sessions, self._sleep
        )
        return self._partition

    @staticmethod
    def _check_same_feed(kind: str, state: dict[str, Any]) -> None:
        """Require the same feed: the topics' clock cannot go back, and another feed restarts its sequence numbers."""
        assert state["v"] == STATE_VERSION, f"feed state of version {state['v']}, expected {STATE_VERSION}"
        if state["kind"] != kind:
            raise BadInput(
                f"the topics of this platform hold data of {state['kind']} and cannot continue with {kind}; "
                "start with the previous feed or with another PLATFORM_HOME"
            )

    @property
    def finished(self) -> bool:
        """Whether the feed's last time slice was emitted."""
        return self._partition is not None and self._partition.finished


class FeedPartition(StatefulSourcePartition[FeedSlices, dict[str, Any]]):
    """See `FeedSource`."""

    def __init__(
        self,
        feed: MarketFeed,
        batch_slices: int,
        speed: float | None,
        at_end: str,
        stop_requested: Callable[[], bool],
        now_ns: Callable[[], int],
        stats: Stats,
        last_slice_ns: int,
        heartbeat: Heartbeat | None,
        sessions: SessionAnnouncements | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._heartbeat, self._sessions, self._sleep = heartbeat, sessions, sleep
        self._stats, self._last_slice_ns, self._records_in, self._dead_letters = stats, last_slice_ns, 0, 0
        self._feed, self._batch_slices, self._at_end = feed, batch_slices, at_end
        self._stop_requested, self._now_ns = stop_requested, now_ns
        self._pace_ns = None if speed is None else max(1, round(feed.interval_ns / speed))
        self._next_due_ns = now_ns()  # when the next time slice is due at this speed
        self._snapshot_taken = False

    @property
    def finished(self) -> bool:
        return self._feed.finished

    def next_batch(self) -> list[FeedSlices]:
        self._write_stats()
        if self._stop_requested():
            if self._snapshot_taken:
                raise AbortExecution()
            return []
        self._wait_until_due()
        if self._feed.finished:
            if self._at_end == "stop":
                raise StopIteration
            return []
        count = self._batch_slices
        if self._pace_ns is not None:
            behind_ns = self._now_ns() - self._next_due_ns
            if behind_ns > _BEHIND_NS_MAX:
                # The process was suspended: continue at the same speed, instead of sending everything that is overdue.
                self._next_due_ns, behind_ns = self._next_due_ns + behind_ns, 0
            count = min(count, behind_ns // self._pace_ns + 1 if behind_ns >= 0 else 0)
        time_slices = self._feed.take(count) if count else []
        if self._pace_ns is not None:
            self._next_due_ns += self._pace_ns * len(time_slices)
        if not time_slices:
            return []
        if self._heartbeat is not None:
            time_slices = self._heartbeat.add(time_slices)
        last_slice_ns, self._last_slice_ns = self._last_slice_ns, time_slices[-1].ts_ns
        self._stats.slices += len(time_slices)
        for time_slice in time_slices:
            dead_letters = [*map(type, time_slice.records)].count(DeadLetter)
            self._dead_letters += dead_letters
            self._records_in += len(time_slice.records) - dead_letters
        if self._sessions is not None:
            time_slices = self._sessions.add(time_slices, last_slice_ns)
        return [(FEED_SHARD, time_slices)]

    def _write_stats(self) -> None:
        if self._stats.write_due():
            self._stats.write(
                last_tick_ns=self._last_slice_ns,
                records_in=self._records_in,
                dead_letters=self._dead_letters,
                late_records=0,
                duplicates=0,
                seq_gaps=0,
                feed_finished=self._feed.finished,
            )

    def _wait_until_due(self) -> None:
        """Sleep until a time slice is due.

        `next_awake` is not used: the engine compares it with the wall clock, so a clock set back by an hour would
        stall the feed for an hour.
        """
        wait_ns = self._ns_until_due()
        if wait_ns > 0:
            self._sleep(min(wait_ns, SLEEP_NS_MAX) / 1e9)

    def _ns_until_due(self) -> int:
        """Return the time until the next time slice is due; 0 or less if it is due now."""
        if self._feed.finished:
            return SLEEP_NS_MAX if self._at_end == "idle" else 0
        due_times_ns = [
            ns for ns in (self._feed.due_ns(), self._next_due_ns if self._pace_ns else None) if ns is not None
        ]
        return max(due_times_ns) - self._now_ns() if due_times_ns else 0

    def next_awake(self) -> datetime | None:
        """Return a past time, so that the engine does not pause after an empty batch; `_wait_until_due` waits."""
        return IMMEDIATELY if not self._stop_requested() and self._ns_until_due() > 0 else None

    def snapshot(self) -> dict[str, Any]:
        self._snapshot_taken = self._stop_requested()
        feed = self._feed
        kind = type(feed).__name__
        return {"v": STATE_VERSION, "kind": kind, "feed": feed.state(), "last_tick_ns": self._last_slice_ns}
