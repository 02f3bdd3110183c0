"""The Bytewax source of a feed: one partition that gives lists of ticks, paced at the edge, resumable and stoppable."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition

from dataflows.runtime.stats import Stats
from dataflows.runtime.topology import FEED
from dataflows.sources.heartbeat import Heartbeat
from operators.stage import Tick
from schemas.errors import BadInput
from schemas.records import DeadLetter

STATE_VERSION = 1
LONGEST_SLEEP_NS = 100_000_000  # a stop must not wait longer for the next call
AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


FeedTicks = tuple[str, list[Tick]]
"""(FEED, ticks in order)."""


class Feed(Protocol):
    """What `FileFeed` and `Simulator` have in common."""

    @property
    def interval_ns(self) -> int: ...

    @property
    def finished(self) -> bool: ...

    def take(self, count: int) -> list[Tick]: ...

    def due_ns(self) -> int | None: ...

    def state(self) -> dict[str, Any]: ...

    def resume(self, state: dict[str, Any] | None) -> Feed: ...


class FeedSource(FixedPartitionedSource[FeedTicks, dict[str, Any]]):
    """Items are `(FEED, ticks)` with at most `batch_ticks` ticks, in order. `stats` shows how far it is.

    `speed`: None gives ticks as fast as they are taken; N gives one each interval / N of wall-clock time, so nights
    and weekends, which have no ticks, pass at once. Event time stays the feed's. `at_end`: "stop" ends the dataflow,
    "idle" leaves it running without items. `stopping` is asked at each call; once it is true, nothing more is given,
    and behind the snapshot that follows the worker leaves with `AbortExecution` and nothing to replay.
    """

    def __init__(
        self,
        open_feed: Callable[[], Feed],
        *,
        batch_ticks: int = 64,
        speed: float | None = None,
        at_end: str = "stop",
        stopping: Callable[[], bool] = lambda: False,
        now_ns: Callable[[], int] = time.time_ns,
        stats: Stats | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        if speed is not None and not speed > 0:
            raise BadInput(f"the speed of a feed must be > 0, found {speed}")
        if at_end not in ("stop", "idle") or batch_ticks < 1:
            raise BadInput(f"a feed ends with stop or idle and gives >= 1 tick, found {at_end} and {batch_ticks}")
        self._open_feed = open_feed
        self._options = (batch_ticks, speed, at_end, stopping, now_ns, stats or Stats("market_data", None))
        self._heartbeat = heartbeat
        self._partition: FeedPartition | None = None

    def list_parts(self) -> list[str]:
        return [FEED]

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, Any] | None) -> FeedPartition:
        assert for_part == FEED, for_part
        feed = self._open_feed()
        if resume_state is not None:
            self._check_same_feed(type(feed).__name__, resume_state)
            feed = feed.resume(resume_state["feed"])
        # A restarted feed stands where it stood, also when it has nothing left to give.
        last_tick_ns = -1 if resume_state is None else resume_state.get("last_tick_ns", -1)
        self._partition = FeedPartition(feed, *self._options, last_tick_ns, self._heartbeat)
        return self._partition

    @staticmethod
    def _check_same_feed(kind: str, state: dict[str, Any]) -> None:
        """The clock of the topics cannot go back, and another feed counts its bars anew."""
        assert state["v"] == STATE_VERSION, f"feed state of version {state['v']}, expected {STATE_VERSION}"
        if state["kind"] != kind:
            raise BadInput(
                f"this platform's topics were fed by {state['kind']} and cannot go on with {kind}; "
                "start with the feed as before, or with another PLATFORM_HOME"
            )

    @property
    def finished(self) -> bool:
        """Whether the feed's last tick has been given."""
        return self._partition is not None and self._partition.finished


class FeedPartition(StatefulSourcePartition[FeedTicks, dict[str, Any]]):
    """See `FeedSource`."""

    def __init__(
        self,
        feed: Feed,
        batch_ticks: int,
        speed: float | None,
        at_end: str,
        stopping: Callable[[], bool],
        now_ns: Callable[[], int],
        stats: Stats,
        last_tick_ns: int,
        heartbeat: Heartbeat | None,
    ) -> None:
        self._heartbeat = heartbeat
        self._stats, self._last_tick_ns, self._records, self._dead = stats, last_tick_ns, 0, 0
        self._feed, self._batch_ticks, self._at_end = feed, batch_ticks, at_end
        self._stopping, self._now_ns = stopping, now_ns
        self._step_ns = None if speed is None else max(1, round(feed.interval_ns / speed))
        self._paced_ns = now_ns()  # when the next tick is due by the speed
        self._snapped = False

    @property
    def finished(self) -> bool:
        return self._feed.finished

    def next_batch(self) -> list[FeedTicks]:
        self._show()
        if self._stopping():
            if self._snapped:
                raise AbortExecution()
            return []
        self._wait()
        if self._feed.finished:
            if self._at_end == "stop":
                raise StopIteration
            return []
        count = self._batch_ticks
        if self._step_ns is not None:
            behind = self._now_ns() - self._paced_ns
            count = min(count, behind // self._step_ns + 1 if behind >= 0 else 0)
        ticks = self._feed.take(count) if count else []
        if self._step_ns is not None:
            self._paced_ns += self._step_ns * len(ticks)
        if not ticks:
            return []
        if self._heartbeat is not None:
            ticks = self._heartbeat.add(ticks)
        self._last_tick_ns = ticks[-1].ts_ns
        self._stats.ticks += len(ticks)
        for tick in ticks:
            dead = sum(type(record) is DeadLetter for record in tick.records)
            self._dead += dead
            self._records += len(tick.records) - dead
        return [(FEED, ticks)]

    def _show(self) -> None:
        if self._stats.due():
            self._stats.write(
                last_tick_ns=self._last_tick_ns,
                records_in=self._records,
                dead_letters=self._dead,
                late_records=0,
                duplicates=0,
                seq_gaps=0,
                feed_finished=self._feed.finished,
            )

    def _wait(self) -> None:
        """Until something is due. Here and not by `next_awake`, which the engine compares with the wall clock: set back
        by an hour, that would be an hour's silence.
        """
        left_ns = self._left_ns()
        if left_ns > 0:
            time.sleep(min(left_ns, LONGEST_SLEEP_NS) / 1e9)

    def _left_ns(self) -> int:
        """How long until there is something to give."""
        if self._feed.finished:
            return LONGEST_SLEEP_NS if self._at_end == "idle" else 0
        due = [ns for ns in (self._feed.due_ns(), self._paced_ns if self._step_ns else None) if ns is not None]
        return max(due) - self._now_ns() if due else 0

    def next_awake(self) -> datetime | None:
        """At once, where the engine would pause after an empty batch: the waiting is done above."""
        return AT_ONCE if not self._stopping() and self._left_ns() > 0 else None

    def snapshot(self) -> dict[str, Any]:
        self._snapped = self._stopping()
        feed = self._feed
        kind = type(feed).__name__
        return {"v": STATE_VERSION, "kind": kind, "feed": feed.state(), "last_tick_ns": self._last_tick_ns}
