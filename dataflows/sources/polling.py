"""The Bytewax source of an edge that asks the outside now and then: headlines, filings."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition

from dataflows.runtime.stats import Stats
from dataflows.runtime.topology import FEED
from dataflows.sources.feed import AT_ONCE, FeedTicks
from operators.stage import Tick
from schemas.records import Record

LONGEST_SLEEP_S = 0.1  # a stop must not wait longer for the next call


class Polled(Protocol):
    """Something outside. `poll` must not block longer than a second; it gives what is new, oldest first."""

    @property
    def interval_s(self) -> float: ...

    def poll(self) -> list[Record]: ...


class PolledSource(FixedPartitionedSource[FeedTicks, None]):
    """Items are `(FEED, [Tick(now, records)])`, whenever there is something new.

    There is no state to recover: what an edge wrote stands in its topic, and the stage that reads it drops repeats by
    their id. With `outside` None the service runs and gives nothing.
    """

    def __init__(
        self,
        service: str,
        outside: Polled | None,
        *,
        stopping: Callable[[], bool] = lambda: False,
        now_ns: Callable[[], int] = time.time_ns,
        passed_s: Callable[[], float] = time.monotonic,
        stats: Stats | None = None,
    ) -> None:
        self._outside, self._stopping, self._now_ns, self._passed_s = outside, stopping, now_ns, passed_s
        self._stats = stats or Stats(service, None)

    def list_parts(self) -> list[str]:
        return [FEED]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> PolledPartition:
        assert for_part == FEED, for_part
        return PolledPartition(self._outside, self._stopping, self._now_ns, self._passed_s, self._stats)


class PolledPartition(StatefulSourcePartition[FeedTicks, None]):
    """See `PolledSource`."""

    def __init__(
        self,
        outside: Polled | None,
        stopping: Callable[[], bool],
        now_ns: Callable[[], int],
        passed_s: Callable[[], float],
        stats: Stats,
    ) -> None:
        self._outside, self._stopping, self._now_ns, self._stats = outside, stopping, now_ns, stats
        self._passed_s = passed_s
        self._due_s, self._records, self._last_ns = 0.0, 0, -1
        self._snapped = False

    def next_batch(self) -> list[FeedTicks]:
        if self._stats.due():
            self._stats.write(
                last_tick_ns=self._last_ns,
                records_in=self._records,
                dead_letters=0,
                late_records=0,
                duplicates=0,
                seq_gaps=0,
            )
        if self._stopping():
            if self._snapped:
                raise AbortExecution()
            return []
        if self._outside is None or self._passed_s() < self._due_s:
            # Here and not by `next_awake`: the engine compares that with the wall clock, which may be set back:
            # then nothing would be asked for so long.
            time.sleep(LONGEST_SLEEP_S)
            return []
        now_ns = self._now_ns()
        self._due_s = self._passed_s() + self._outside.interval_s
        records = self._outside.poll()
        if not records:
            return []
        self._records += len(records)
        self._last_ns = now_ns
        return [(FEED, [Tick(now_ns, records)])]

    def next_awake(self) -> datetime | None:
        return None if self._stopping() else AT_ONCE

    def snapshot(self) -> None:
        self._snapped = self._stopping()
