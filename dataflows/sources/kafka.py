"""Kafka source of every staged service: topics in, time slices out.

Each part is a shard and reads several logs aligned by time (`operators/alignment.py`). All shards of a worker share one
consumer. It waits a few milliseconds inside librdkafka and wakes at the first message: short latency under load, almost
no processor time when idle. The recovery snapshot holds the positions; the offsets committed to the consumer group only
serve lag tools and are never read back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from sys import maxsize
from typing import Any

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition

from dataflows.runtime.checkpoint_parts import ReaderCheckpoint
from dataflows.runtime.stats import Stats
from dataflows.sources.rejection_guard import RejectionGuard
from dataflows.sources.shared_consumer import ReplayEnd, SharedConsumer
from operators.alignment import AlignedLogs, AlignmentCounts
from operators.dead_letter_rate import RateLimits
from operators.log_cursor import LogInput
from operators.stage import TimeSlice
from schemas.codec import DEFAULT_CODEC, Codec
from schemas.records import CheckpointMarker
from sinks.archive.topic_archive import TopicArchive
from sinks.cluster import Servers

IMMEDIATELY = datetime(1970, 1, 1, tzinfo=UTC)

ShardSlices = tuple[str, list[TimeSlice]]
"""Item between the steps of a dataflow: a shard's name and some of its time slices in order. After a time slice with a
checkpoint marker, a live service's source emits a `ReaderCheckpoint` as well."""


class ShardPartition(StatefulSourcePartition[ShardSlices, Any]):
    """One shard's logs as time slices. Raises Unavailable if a saved position is no longer in the log."""

    def __init__(
        self,
        name: str,
        reader: AlignedLogs,
        consumer: SharedConsumer,
        source: KafkaSliceSource,
        rate_state: Any = None,
    ) -> None:
        self._name, self._reader, self._consumer, self._source = name, reader, consumer, source
        self._snapshot_taken_after_stop = False
        limits = source.limits
        self._guard = (
            None if limits is None else RejectionGuard(limits, rate_state, source.read_released_ns, source.on_suspend)
        )
        if source.until is not None:
            # Must precede the first fetch: the broker handles a connection's requests one after another, and a pending
            # fetch would delay the request for the end of a log.
            consumer.set_end(list(reader.next_offsets()), source.until)
        consumer.add(reader)
        consumer.partitions.append(self)

    def next_batch(self) -> list[ShardSlices]:
        if self._source.stop_requested():
            if all(partition._snapshot_taken_after_stop for partition in self._consumer.partitions):
                self._consumer.close()
                raise AbortExecution("stop requested; the last snapshot is durable")
            return []
        time_slices = self._reader.take_slices(self._source.records_max)
        if not time_slices:
            self._consumer.resume_where_drained()
            time_slices = self._poll_until_slice()
        if self._guard is not None:
            self._guard.check(time_slices)
        self._write_stats()
        if self._source.until is not None:
            time_slices = self._stop_at_end(time_slices)
        self._source.stats.slices += len(time_slices)
        if time_slices and self._source.saves_checkpoints and self._reader.marker is not None:
            return [(self._name, [*time_slices, self._checkpoint(self._reader.marker)])]  # type: ignore[list-item]
        return [(self._name, time_slices)] if time_slices else []

    def _checkpoint(self, marker: CheckpointMarker) -> ReaderCheckpoint:
        """Return the state after the last time slice, which has the marker."""
        return ReaderCheckpoint(
            marker, self._reader.passed_ns, self._source.service, self._name, self._reader.snapshot()
        )

    @property
    def counts(self) -> AlignmentCounts:
        """The counts of this shard so far."""
        return self._reader.counts

    def _poll_until_slice(self) -> list[TimeSlice]:
        """Poll until a time slice is complete, within `wait_s`: its records seldom arrive together."""
        partitions = self._consumer.partitions
        # Only one shard of a worker waits, otherwise the waits add up; and none waits while another shard is ready.
        may_wait = partitions[0] is self and not any(partition._reader.ready() for partition in partitions)
        remaining_s = self._source.wait_s if may_wait else 0.0
        deadline = time.monotonic() + remaining_s
        while self._consumer.poll(remaining_s) and not any(partition._reader.ready() for partition in partitions):
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                break
        return self._reader.take_slices(self._source.records_max)

    def _stop_at_end(self, time_slices: list[TimeSlice]) -> list[TimeSlice]:
        if not time_slices and self._reader.finished:
            raise StopIteration
        if self._consumer.end_offsets and not time_slices:
            # The replay ends when one log is at its end and the next time slice depends on it.
            delivered_to, end_offsets = self._consumer.delivered_to, self._consumer.end_offsets
            if any(delivered_to[log] >= end_offsets.get(log, maxsize) for log in self._reader.awaited_logs()):
                raise StopIteration
        return time_slices

    def _write_stats(self) -> None:
        stats = self._source.stats
        if not stats.write_due():
            return
        counts = [partition._reader.counts for partition in self._consumer.partitions]
        stats.write(
            last_tick_ns=min(partition._reader.passed_ns for partition in self._consumer.partitions),
            records_in=sum(count.accepted for count in counts),
            dead_letters=sum(count.dead_letters for count in counts),
            late_records=sum(count.late for count in counts),
            duplicates=sum(count.duplicates for count in counts),
            seq_gaps=sum(count.gaps for count in counts),
            unverified_commands=sum(count.unverified_commands for count in counts),
        )

    def next_awake(self) -> datetime | None:
        """Return a past time, so that the engine does not pause for 1 ms after an empty batch; `poll` waits."""
        return None if self._source.stop_requested() else IMMEDIATELY

    def snapshot(self) -> Any:
        self._snapshot_taken_after_stop = self._source.stop_requested()
        self._consumer.commit(self._reader.next_offsets())
        snapshot = self._reader.snapshot()
        return snapshot if self._guard is None else (*snapshot, self._guard.snapshot())

    def close(self) -> None:
        self._consumer.partitions.remove(self)
        if not self._consumer.partitions:
            self._consumer.close()


class KafkaSliceSource(FixedPartitionedSource[ShardSlices, Any]):
    """The shards of one service as a Bytewax source. Items are `(shard, [TimeSlice, ...])`.

    - `logs`: the inputs of each shard.
    - `prefix`: precedes every topic name, for several platforms on one cluster.
    - `until`: bounds a replay.
    - `archive`: contains the messages that are no longer in the topics, for a reader that starts at their beginning.
    - `wait_s`: bounds how long one call waits for a message.
    - `on_resume` receives each shard and the last time slice of its snapshot, -1 without one.
    - `limits`: bound the rate of rejected records. `on_suspend` receives the time slice that exceeds them, then
      TooManyDeadLetters is raised. Time slices up to `read_released_ns()` do not suspend it.
    - `saves_checkpoints`: emit a `ReaderCheckpoint` after each time slice with a checkpoint marker.
    """

    def __init__(
        self,
        servers: Servers,
        service: str,
        logs: Mapping[str, Sequence[LogInput]],
        *,
        prefix: str = "",
        codec: Codec = DEFAULT_CODEC,
        until: ReplayEnd | None = None,
        archive: TopicArchive | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
        stats: Stats | None = None,
        wait_s: float = 0.1,
        records_max: int = 2000,
        on_resume: Callable[[str, int], None] = lambda shard, passed_ns: None,
        limits: RateLimits | None = None,
        read_released_ns: Callable[[], int] = lambda: -1,
        on_suspend: Callable[[int, str], None] = lambda at_ns, reason: None,
        saves_checkpoints: bool = False,
    ) -> None:
        self.service, self.saves_checkpoints = service, saves_checkpoints
        self._servers, self._logs, self._codec = servers, logs, codec
        self._prefix, self._on_resume, self._archive = prefix, on_resume, archive
        self.limits, self.read_released_ns, self.on_suspend = limits, read_released_ns, on_suspend
        self.until, self.stop_requested, self.wait_s, self.records_max = until, stop_requested, wait_s, records_max
        self.stats = stats or Stats(service, None)
        self._consumers: dict[int, SharedConsumer] = {}
        self._lock = threading.Lock()

    def list_parts(self) -> list[str]:
        return list(self._logs)

    def build_part(self, step_id: str, for_part: str, resume_state: Any | None) -> ShardPartition:
        with self._lock:
            worker = threading.get_ident()
            if worker not in self._consumers:
                self._consumers[worker] = SharedConsumer(
                    self._servers,
                    self._prefix,
                    self._codec,
                    self.service,
                    bounded=self.until is not None,
                    archive=self._archive,
                )
            consumer = self._consumers[worker]
        # Snapshots with a dead letter rate have a fourth element after the reader's three.
        rate_state = resume_state[3] if resume_state is not None and len(resume_state) > 3 else None
        until_ns = None if self.until is None else self.until.ts_ns
        reader = AlignedLogs(self.service, self._logs[for_part], resume_state, until_ns=until_ns)
        self._on_resume(for_part, reader.passed_ns)
        return self._partition(for_part, reader, consumer, rate_state)

    def _partition(self, name: str, reader: AlignedLogs, consumer: SharedConsumer, rate_state: Any) -> ShardPartition:
        return ShardPartition(name, reader, consumer, self, rate_state)
