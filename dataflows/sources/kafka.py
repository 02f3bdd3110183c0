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
from typing import Any, NamedTuple

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from dataflows.runtime.stats import Stats
from operators.alignment import AlignedLogs, AlignmentCounts
from operators.command_signatures import REASON_PREFIX
from operators.dead_letter_rate import DeadLetterRate, RateLimits
from operators.log_cursor import Log
from operators.stage import TimeSlice
from schemas.codec import DEFAULT_CODEC, Codec
from schemas.errors import TooManyDeadLetters, Unavailable, Undecodable
from schemas.records import UNCLOCKED_RECORDS, DeadLetter, LateRecord, Record
from sinks.cluster import Servers, client_config
from sinks.kafka_errors import is_denied, topic_error
from sinks.log_offsets import log_range

MESSAGES_PER_POLL_MAX = 1000
CLOSE_TIMEOUT_S = 2.0
PAUSE_ABOVE_RECORDS, RESUME_BELOW_RECORDS = 8000, 2000  # records of one log that are waiting for other logs
IMMEDIATELY = datetime(1970, 1, 1, tzinfo=UTC)
STALE_OFFSET_ERRORS = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})

ShardSlices = tuple[str, list[TimeSlice]]
"""Item between the steps of a dataflow: a shard's name and some of its time slices in order."""


class ReplayEnd(NamedTuple):
    """The end of a bounded replay; of several limits the first one reached applies.

    `ts_ns`: the last time slice at or before it. `end_of_logs`: the end of each log at the start. `offsets`: the last
    time slice completed by messages before these offsets.
    """

    ts_ns: int | None = None
    end_of_logs: bool = False
    offsets: Mapping[tuple[str, int], int] | None = None  # (topic, partition) -> first offset to exclude


class _SharedConsumer:
    """One consumer, shared by the shards of one worker; delivers each log's messages to the shards that read it."""

    def __init__(self, servers: Servers, prefix: str, codec: Codec, stage: str, *, bounded: bool) -> None:
        self._servers, self._codec, self._stage, self._prefix = servers, codec, stage, prefix
        options = {
            "group.id": f"{prefix}platform-{stage}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 2,
            # The broker responds at the first record; this bounds a fetch without any.
            "fetch.wait.max.ms": 500,
            "queued.max.messages.kbytes": 16384,
            "reconnect.backoff.max.ms": 1000,
            "allow.auto.create.topics": False,
            # Nagle's algorithm would delay each small request by 0.3 ms.
            "socket.nagle.disable": True,
            "enable.partition.eof": False,
        }
        if bounded:
            # A replay can end before the consumer has logged in to the coordinator of its group, which is no error.
            options["log_level"] = 0
        self._consumer = Consumer(client_config(servers, options))
        # Every shard of this process reads a log of all symbols (weights, news), each from its own position.
        self._readers: dict[tuple[str, int], list[AlignedLogs]] = {}
        self._next_offsets: dict[tuple[tuple[str, int], int], int] = {}  # (log, id of the reader) -> its next offset
        self._log_by_topic: dict[tuple[str | None, int | None], tuple[str, int]] = {}  # key: with the topic prefix
        self._paused: set[tuple[str, int]] = set()
        self._committed: dict[tuple[str, int], int] = {}
        self._closed = False
        self.delivered_to: dict[tuple[str, int], int] = {}  # log -> first offset not yet delivered
        self.end_offsets: dict[tuple[str, int], int] = {}  # log -> first offset that a bounded replay excludes
        self.partitions: list[ShardPartition] = []

    def add(self, reader: AlignedLogs) -> None:
        for log, offset in reader.next_offsets().items():
            self._next_offsets[log, id(reader)] = offset
            readers = self._readers.setdefault(log, [])
            readers.append(reader)
            if len(readers) == 1:
                self._log_by_topic[self._prefix + log[0], log[1]] = log
                self._consumer.incremental_assign([self._topic_partition(log, offset)])
                self.delivered_to[log] = offset
            elif offset < self.delivered_to[log]:
                self._consumer.incremental_unassign([self._topic_partition(log)])
                self._consumer.incremental_assign([self._topic_partition(log, offset)])
                self.delivered_to[log] = offset

    def _topic_partition(self, log: tuple[str, int], offset: int = 0) -> TopicPartition:
        topic, partition = log
        return TopicPartition(self._prefix + topic, partition, offset)

    def set_end(self, logs: Sequence[tuple[str, int]], until: ReplayEnd) -> None:
        """Set the end offsets of these logs for a bounded replay."""
        limits = until.offsets or {}
        for log in logs:
            candidates = [limits[log]] if log in limits else []
            if until.end_of_logs:
                topic, partition = log
                candidates.append(log_range(self._consumer, self._prefix + topic, partition, timeout_s=10)[1])
            if candidates:
                self.end_offsets[log] = min(candidates)

    def poll(self, wait_s: float) -> int:
        """Fetch available messages, waiting at most `wait_s` for the first. Return the number of messages."""
        first = self._consumer.poll(wait_s)
        if first is None:
            return 0
        by_log: dict[tuple[str, int], list[tuple[int, Any]]] = {}
        messages = [first, *self._consumer.consume(MESSAGES_PER_POLL_MAX - 1, 0)]
        decode = self._codec.decode
        for message in messages:
            error = message.error()
            if error is not None:
                self._raise_if_unreadable(error, message)
                continue
            log_key = self._log_by_topic[message.topic(), message.partition()]
            if self.end_offsets and (message.offset() or 0) >= self.end_offsets.get(log_key, maxsize):
                self.delivered_to[log_key] = self.end_offsets[log_key]
                continue
            record: Any
            try:
                record = decode(message.value())
            except Undecodable as undecodable:
                record = self._dead_letter(log_key, message, str(undecodable))
            entries = by_log.get(log_key)
            if entries is None:
                entries = by_log[log_key] = []
            entries.append((message.offset() or 0, record))
        for log_key, delivered in by_log.items():
            for reader in self._readers[log_key]:
                self._deliver(reader, log_key, delivered)
            self.delivered_to[log_key] = delivered[-1][0] + 1
        return len(messages)

    def _deliver(self, reader: AlignedLogs, log: tuple[str, int], entries: list[tuple[int, Any]]) -> None:
        next_offset = self._next_offsets[log, id(reader)]
        reader.feed(
            *log, entries if entries[0][0] >= next_offset else [entry for entry in entries if entry[0] >= next_offset]
        )
        self._next_offsets[log, id(reader)] = max(next_offset, entries[-1][0] + 1)
        if reader.buffered(*log) > PAUSE_ABOVE_RECORDS:
            self._pause(*log)

    def _dead_letter(self, log_key: tuple[str, int], message: Message, reason: str) -> DeadLetter:
        value = message.value() or b""
        schema_id = int.from_bytes(value[1:5], "big") if len(value) >= 5 and value[0] == 0 else None
        # The reader sets the time, because it knows the clock before this offset.
        topic, partition = log_key
        return DeadLetter(
            topic=topic,
            partition=partition,
            offset=message.offset() or 0,
            stage=self._stage,
            ts_ns=0,
            reason=reason,
            schema_id=schema_id,
            raw=value,
        )

    def _raise_if_unreadable(self, error: KafkaError, message: Message) -> None:
        if is_denied(error):
            raise Unavailable(topic_error(self._servers, error, "READ", message.topic()))
        if error.code() in STALE_OFFSET_ERRORS or error.fatal():
            location = f"topic {message.topic()} partition {message.partition()}"
            raise Unavailable(
                f"{location}: the next offset to read is no longer in the log ({error.str()}); "
                f"restore the topic from a backup, or this service's state with `python cli.py rebuild {self._stage}`"
            )

    def _pause(self, topic: str, partition: int) -> None:
        if (topic, partition) not in self._paused:
            self._paused.add((topic, partition))
            self._consumer.pause([self._topic_partition((topic, partition))])

    def resume_where_drained(self) -> None:
        drained = [
            log
            for log in self._paused
            if all(reader.buffered(*log) < RESUME_BELOW_RECORDS for reader in self._readers[log])
        ]
        if drained:
            self._paused.difference_update(drained)
            self._consumer.resume([self._topic_partition(log) for log in drained])

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Show lag tools the positions. At a stop, the engine can take a last snapshot after the consumer is closed."""
        if self._closed:
            return
        moved = {log: offset for log, offset in offsets.items() if self._committed.get(log) != offset}
        if moved:
            self._committed.update(moved)
            self._consumer.commit(
                offsets=[self._topic_partition(log, offset) for log, offset in moved.items()], asynchronous=True
            )

    def close(self) -> None:
        """Close within `CLOSE_TIMEOUT_S`: the broker may not respond after an outage, and nothing depends on it."""
        self._closed = True
        closer = threading.Thread(target=self._consumer.close, daemon=True)
        closer.start()
        closer.join(CLOSE_TIMEOUT_S)


def _is_rejected(record: Record) -> bool:
    """Whether a record counts for the limits. Commands without a valid signature do not: they must stop no service."""
    if type(record) not in UNCLOCKED_RECORDS:
        return False
    return not (type(record) is DeadLetter and record.reason.startswith(REASON_PREFIX))


class ShardPartition(StatefulSourcePartition[ShardSlices, Any]):
    """One shard's logs as time slices. Raises Unavailable if a saved position is no longer in the log."""

    def __init__(
        self,
        name: str,
        reader: AlignedLogs,
        consumer: _SharedConsumer,
        source: KafkaSliceSource,
        rate_state: Any = None,
    ) -> None:
        self._name, self._reader, self._consumer, self._source = name, reader, consumer, source
        self._snapshot_taken_after_stop = False
        limits = source.limits
        self._dead_letter_rate = None if limits is None else DeadLetterRate(limits, rate_state)
        if source.until is not None:
            # Must precede the first fetch: the broker handles a connection's requests one after another, and a pending
            # fetch would delay the request for the end of a log.
            consumer.set_end(list(reader.next_offsets()), source.until)
        consumer.add(reader)
        consumer.partitions.append(self)

    def _check_dead_letter_rate(self, time_slices: list[TimeSlice]) -> None:
        """Suspend the service if too many records were rejected, before any of these time slices is emitted: the last
        snapshot is from before them. Raises TooManyDeadLetters.
        """
        if self._dead_letter_rate is None:
            return
        for ts_ns, records in time_slices:
            rejected = sum(_is_rejected(record) for record in records) if records else 0
            reason = self._dead_letter_rate.fold(ts_ns, len(records) - rejected, rejected)
            if reason is not None and ts_ns <= (last_released_ns := self._source.read_released_ns()):
                self._dead_letter_rate.release(last_released_ns)
            elif reason is not None:
                last_rejected = next(
                    record
                    for record in reversed(records)
                    if isinstance(record, DeadLetter | LateRecord) and _is_rejected(record)
                )
                location = f"{last_rejected.topic}/{last_rejected.partition}@{last_rejected.offset}"
                reason = f"{reason}; last rejected record {location}: {last_rejected.reason}"
                self._source.on_suspend(ts_ns, reason)
                raise TooManyDeadLetters(
                    f"suspended at {ts_ns}: {reason}; to continue, run `python cli.py dead-letters release`"
                )

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
        self._check_dead_letter_rate(time_slices)
        self._write_stats()
        if self._source.until is not None:
            time_slices = self._stop_at_end(time_slices)
        self._source.stats.slices += len(time_slices)
        return [(self._name, time_slices)] if time_slices else []

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
        return snapshot if self._dead_letter_rate is None else (*snapshot, self._dead_letter_rate.snapshot())

    def close(self) -> None:
        self._consumer.partitions.remove(self)
        if not self._consumer.partitions:
            self._consumer.close()


class KafkaSliceSource(FixedPartitionedSource[ShardSlices, Any]):
    """The shards of one service as a Bytewax source. Items are `(shard, [TimeSlice, ...])`.

    - `logs`: the inputs of each shard.
    - `prefix`: precedes every topic name, for several platforms on one cluster.
    - `until`: bounds a replay.
    - `wait_s`: bounds how long one call waits for a message.
    - `on_resume` receives each shard and the last time slice of its snapshot, -1 without one.
    - `limits`: bound the rate of rejected records. `on_suspend` receives the time slice that exceeds them, then
      TooManyDeadLetters is raised. Time slices up to `read_released_ns()` do not suspend it.
    """

    def __init__(
        self,
        servers: Servers,
        service: str,
        logs: Mapping[str, Sequence[Log]],
        *,
        prefix: str = "",
        codec: Codec = DEFAULT_CODEC,
        until: ReplayEnd | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
        stats: Stats | None = None,
        wait_s: float = 0.1,
        records_max: int = 2000,
        on_resume: Callable[[str, int], None] = lambda shard, passed_ns: None,
        limits: RateLimits | None = None,
        read_released_ns: Callable[[], int] = lambda: -1,
        on_suspend: Callable[[int, str], None] = lambda at_ns, reason: None,
    ) -> None:
        self._servers, self._service, self._logs, self._codec = servers, service, logs, codec
        self._prefix, self._on_resume = prefix, on_resume
        self.limits, self.read_released_ns, self.on_suspend = limits, read_released_ns, on_suspend
        self.until, self.stop_requested, self.wait_s, self.records_max = until, stop_requested, wait_s, records_max
        self.stats = stats or Stats(service, None)
        self._consumers: dict[int, _SharedConsumer] = {}
        self._lock = threading.Lock()

    def list_parts(self) -> list[str]:
        return list(self._logs)

    def build_part(self, step_id: str, for_part: str, resume_state: Any | None) -> ShardPartition:
        with self._lock:
            worker = threading.get_ident()
            if worker not in self._consumers:
                self._consumers[worker] = _SharedConsumer(
                    self._servers, self._prefix, self._codec, self._service, bounded=self.until is not None
                )
            consumer = self._consumers[worker]
        # Snapshots with a dead letter rate have a fourth element after the reader's three.
        rate_state = resume_state[3] if resume_state is not None and len(resume_state) > 3 else None
        until_ns = None if self.until is None else self.until.ts_ns
        reader = AlignedLogs(self._service, self._logs[for_part], resume_state, until_ns=until_ns)
        self._on_resume(for_part, reader.passed_ns)
        return self._partition(for_part, reader, consumer, rate_state)

    def _partition(self, name: str, reader: AlignedLogs, consumer: _SharedConsumer, rate_state: Any) -> ShardPartition:
        return ShardPartition(name, reader, consumer, self, rate_state)
