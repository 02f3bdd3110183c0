"""The Kafka consumer that the shards of one worker share, and the end of a bounded replay."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from sys import maxsize
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.codec import Codec
from schemas.errors import Unavailable, Undecodable
from schemas.records import DeadLetter
from sinks.cluster import Servers, client_config
from sinks.kafka_errors import is_denied, topic_error
from sinks.log_offsets import log_range

if TYPE_CHECKING:
    from dataflows.sources.kafka import ShardPartition

MESSAGES_PER_POLL_MAX = 1000
CLOSE_TIMEOUT_S = 2.0
PAUSE_ABOVE_RECORDS, RESUME_BELOW_RECORDS = 8000, 2000  # records of one log that are waiting for other logs
STALE_OFFSET_ERRORS = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


class ReplayEnd(NamedTuple):
    """The end of a bounded replay; of several limits the first one reached applies.

    `ts_ns`: the last time slice at or before it. `end_of_logs`: the end of each log at the start. `offsets`: the last
    time slice completed by messages before these offsets.
    """

    ts_ns: int | None = None
    end_of_logs: bool = False
    offsets: Mapping[tuple[str, int], int] | None = None  # (topic, partition) -> first offset to exclude


class LogReader(Protocol):
    """Receives the messages of several logs, such as `AlignedLogs`."""

    def next_offsets(self) -> Mapping[tuple[str, int], int]: ...

    def feed(self, topic: str, partition: int, messages: Iterable[tuple[int, Any]]) -> None: ...

    def buffered(self, topic: str, partition: int) -> int: ...


class SharedConsumer:
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
        self._readers: dict[tuple[str, int], list[LogReader]] = {}
        self._next_offsets: dict[tuple[tuple[str, int], int], int] = {}  # (log, id of the reader) -> its next offset
        self._log_by_topic: dict[tuple[str | None, int | None], tuple[str, int]] = {}  # key: with the topic prefix
        self._paused: set[tuple[str, int]] = set()
        self._committed: dict[tuple[str, int], int] = {}
        self._closed = False
        self.delivered_to: dict[tuple[str, int], int] = {}  # log -> first offset not yet delivered
        self.end_offsets: dict[tuple[str, int], int] = {}  # log -> first offset that a bounded replay excludes
        self.partitions: list[ShardPartition] = []

    def add(self, reader: LogReader) -> None:
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

    def _deliver(self, reader: LogReader, log: tuple[str, int], entries: list[tuple[int, Any]]) -> None:
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
