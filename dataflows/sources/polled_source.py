"""Bytewax source that polls an external source at intervals: headlines, filings."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition

from dataflows.runtime.stats import Stats
from dataflows.runtime.topology import FEED_SHARD
from dataflows.sources.feed_source import IMMEDIATELY, FeedSlices
from operators.stage import TimeSlice
from schemas.records import Record

SLEEP_S_MAX = 0.1  # bounds how long a stop waits for the next call


class PollableSource(Protocol):
    """An external source. `poll` blocks for at most a second and returns new records, oldest first."""

    @property
    def interval_s(self) -> float: ...

    def poll(self) -> list[Record]: ...


class PolledSource(FixedPartitionedSource[FeedSlices, None]):
    """Items are `(FEED_SHARD, [TimeSlice(now, records)])`, whenever there are new records.

    There is no state to recover: the topic holds what was published, and the stage that reads it drops duplicates by
    id. With `source` None the service runs and emits nothing.
    """

    def __init__(
        self,
        service: str,
        source: PollableSource | None,
        *,
        stop_requested: Callable[[], bool] = lambda: False,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
        stats: Stats | None = None,
    ) -> None:
        self._source, self._stop_requested = source, stop_requested
        self._now_ns, self._monotonic_s = now_ns, monotonic_s
        self._stats = stats or Stats(service, None)

    def list_parts(self) -> list[str]:
        return [FEED_SHARD]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> PolledPartition:
        assert for_part == FEED_SHARD, for_part
        return PolledPartition(self._source, self._stop_requested, self._now_ns, self._monotonic_s, self._stats)


class PolledPartition(StatefulSourcePartition[FeedSlices, None]):
    """See `PolledSource`."""

    def __init__(
        self,
        source: PollableSource | None,
        stop_requested: Callable[[], bool],
        now_ns: Callable[[], int],
        monotonic_s: Callable[[], float],
        stats: Stats,
    ) -> None:
        self._source, self._stop_requested, self._now_ns, self._stats = source, stop_requested, now_ns, stats
        self._monotonic_s = monotonic_s
        self._due_s, self._records_in, self._last_ns = 0.0, 0, -1
        self._snapshot_taken = False

    def next_batch(self) -> list[FeedSlices]:
        if self._stats.write_due():
            self._stats.write(
                last_tick_ns=self._last_ns,
                records_in=self._records_in,
                dead_letters=0,
                late_records=0,
                duplicates=0,
                seq_gaps=0,
            )
        if self._stop_requested():
            if self._snapshot_taken:
                raise AbortExecution()
            return []
        if self._source is None or self._monotonic_s() < self._due_s:
            # `next_awake` is not used: the engine compares it with the wall clock, so setting the clock back would
            # suspend polling.
            time.sleep(SLEEP_S_MAX)
            return []
        now_ns = self._now_ns()
        self._due_s = self._monotonic_s() + self._source.interval_s
        records = self._source.poll()
        if not records:
            return []
        self._records_in += len(records)
        self._last_ns = now_ns
        return [(FEED_SHARD, [TimeSlice(now_ns, records)])]

    def next_awake(self) -> datetime | None:
        return None if self._stop_requested() else IMMEDIATELY

    def snapshot(self) -> None:
        self._snapshot_taken = self._stop_requested()
