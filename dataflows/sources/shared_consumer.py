"""The Kafka consumer that the shards of one worker share, and the end of a bounded replay."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from sys import maxsize
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.codec import Codec
from schemas.errors import Unavailable, Undecodable
from schemas.records import DeadLetter
from sinks.archive.container_file import ArchivedMessage
from sinks.archive.topic_archive import TopicArchive
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


class LogReceiver(Protocol):
    """Receives the messages of several logs, such as `AlignedLogs`."""

    def next_offsets(self) -> Mapping[tuple[str, int], int]: ...

    def feed(self, topic: str, partition: int, messages: Iterable[tuple[int, Any]]) -> None: ...

    def buffered(self, topic: str, partition: int) -> int: ...

    def joining(self, topic: str, partition: int) -> bool: ...


class _ArchivedPart(NamedTuple):
    """The archived messages of a log that are still to be read, and the offset at which its topic continues."""

    messages: Iterator[ArchivedMessage]
    end: int


class SharedConsumer:
    """One consumer, shared by the shards of one worker; delivers each log's messages to the shards that read it.

    If the first messages of a log are no longer in its topic, they are read from the archive, if there is one.
    """

    def __init__(
        self,
        servers: Servers,
        prefix: str,
        codec: Codec,
        stage: str,
        *,
        bounded: bool,
        archive: TopicArchive | None = None,
    ) -> None:
        self._servers, self._codec, self._stage, self._prefix = servers, codec, stage, prefix
        self._archive, self._bounded = archive, bounded
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
            # A replay can end before the consumer has logged in to the coordinator of its group, which is not an error.
            options["log_level"] = 0
        self._consumer = Consumer(client_config(servers, options))
        # Every shard of this process reads a log of all symbols (weights, news), each from its own position.
        self._readers: dict[tuple[str, int], list[LogReceiver]] = {}
        self._next_offsets: dict[tuple[tuple[str, int], int], int] = {}  # (log, id of the reader) -> its next offset
        self._log_by_topic: dict[tuple[str | None, int | None], tuple[str, int]] = {}  # key: with the topic prefix
        self._log_ranges: dict[tuple[str, int], tuple[int, int]] = {}
        self._archived: dict[tuple[str, int], _ArchivedPart] = {}  # logs that are still read from the archive
        self._paused: set[tuple[str, int]] = set()
        self._committed: dict[tuple[str, int], int] = {}
        self._closed = False
        self.delivered_to: dict[tuple[str, int], int] = {}  # log -> first offset not yet delivered
        self.end_offsets: dict[tuple[str, int], int] = {}  # log -> first offset that a bounded replay excludes
        self.partitions: list[ShardPartition] = []

    def add(self, reader: LogReceiver) -> None:
        # Before the first fetch, which would delay the requests for the first offsets.
        for log, offset in reader.next_offsets().items():
            # A live service that resumes from a snapshot continues in the topics.
            from_archive = self._archive is not None and (self._bounded or not offset)
            if from_archive or reader.joining(*log):
                self._log_range(log)
        for log, offset in reader.next_offsets().items():
            self._next_offsets[log, id(reader)] = offset
            readers = self._readers.setdefault(log, [])
            readers.append(reader)
            if len(readers) == 1:
                self._log_by_topic[self._prefix + log[0], log[1]] = log
                self._start_log(log, offset, joining=reader.joining(*log))
            elif offset < self.delivered_to[log]:
                if self._archived.pop(log, None) is None:
                    self._consumer.incremental_unassign([self._topic_partition(log)])
                self._start_log(log, offset, joining=reader.joining(*log))

    def _start_log(self, log: tuple[str, int], offset: int, *, joining: bool) -> None:
        """Read a log from an offset on, first from the archive if the topic starts later.

        A log that is added to a snapshot is not read from the archive: archived messages are older than the snapshot.
        """
        topic, partition = log
        self.delivered_to[log] = offset
        first = self._log_ranges.get(log, (0, 0))[0]
        if offset < first and joining:
            offset = first
        elif offset < first and self._archive is not None:
            self._archive.require(topic, partition, offset, first)
            self._archived[log] = _ArchivedPart(self._archive.messages(topic, partition, offset, first), first)
            return
        self._consumer.incremental_assign([self._topic_partition(log, offset)])

    def _log_range(self, log: tuple[str, int]) -> tuple[int, int]:
        """Return the first offset of a log and the offset after its last message, both at the first call."""
        if log not in self._log_ranges:
            topic, partition = log
            self._log_ranges[log] = log_range(self._consumer, self._prefix + topic, partition, timeout_s=10)
        return self._log_ranges[log]

    def _topic_partition(self, log: tuple[str, int], offset: int = 0) -> TopicPartition:
        topic, partition = log
        return TopicPartition(self._prefix + topic, partition, offset)

    def set_end(self, logs: Sequence[tuple[str, int]], until: ReplayEnd) -> None:
        """Set the end offsets of these logs for a bounded replay."""
        limits = until.offsets or {}
        for log in logs:
            candidates = [limits[log]] if log in limits else []
            if until.end_of_logs:
                candidates.append(self._log_range(log)[1])
            if candidates:
                self.end_offsets[log] = min(candidates)

    def poll(self, wait_s: float) -> int:
        """Fetch available messages, waiting at most `wait_s` for the first. Return the number of messages."""
        by_log: dict[tuple[str, int], list[tuple[int, Any]]] = {}
        archived = self._read_archive(by_log) if self._archived else 0
        first = self._consumer.poll(0 if archived else wait_s)
        messages = [] if first is None else [first, *self._consumer.consume(MESSAGES_PER_POLL_MAX - 1, 0)]
        for message in messages:
            error = message.error()
            if error is not None:
                self._raise_if_unreadable(error, message)
                continue
            log_key = self._log_by_topic[message.topic(), message.partition()]
            self._add_message(by_log, log_key, message.offset() or 0, message.value())
        for log_key, delivered in by_log.items():
            for reader in self._readers[log_key]:
                self._deliver(reader, log_key, delivered)
            self.delivered_to[log_key] = delivered[-1][0] + 1
        return archived + len(messages)

    def _add_message(
        self, by_log: dict[tuple[str, int], list[tuple[int, Any]]], log_key: tuple[str, int], offset: int, value: Any
    ) -> None:
        if self.end_offsets and offset >= self.end_offsets.get(log_key, maxsize):
            self.delivered_to[log_key] = self.end_offsets[log_key]
            return
        record: Any
        try:
            record = self._codec.decode(value)
        except Undecodable as undecodable:
            record = self._dead_letter(log_key, offset, value, str(undecodable))
        entries = by_log.get(log_key)
        if entries is None:
            entries = by_log[log_key] = []
        entries.append((offset, record))

    def _read_archive(self, by_log: dict[tuple[str, int], list[tuple[int, Any]]]) -> int:
        """Add the next archived messages of each log. A log whose archived part ends continues in its topic."""
        count = 0
        for log, part in list(self._archived.items()):
            if log in self._paused:
                continue
            chunk = list(islice(part.messages, MESSAGES_PER_POLL_MAX))
            count += len(chunk)
            for message in chunk:
                self._add_message(by_log, log, message.offset, message.value)
            if len(chunk) < MESSAGES_PER_POLL_MAX:
                del self._archived[log]
                self._consumer.incremental_assign([self._topic_partition(log, part.end)])
        return count

    def _deliver(self, reader: LogReceiver, log: tuple[str, int], entries: list[tuple[int, Any]]) -> None:
        next_offset = self._next_offsets[log, id(reader)]
        reader.feed(
            *log, entries if entries[0][0] >= next_offset else [entry for entry in entries if entry[0] >= next_offset]
        )
        self._next_offsets[log, id(reader)] = max(next_offset, entries[-1][0] + 1)
        if reader.buffered(*log) > PAUSE_ABOVE_RECORDS:
            self._pause(*log)

    def _dead_letter(self, log_key: tuple[str, int], offset: int, raw: bytes | None, reason: str) -> DeadLetter:
        value = raw or b""
        schema_id = int.from_bytes(value[1:5], "big") if len(value) >= 5 and value[0] == 0 else None
        # The reader sets the time, because it knows the clock before this offset.
        topic, partition = log_key
        return DeadLetter(
            topic=topic,
            partition=partition,
            offset=offset,
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
            if (topic, partition) not in self._archived:
                self._consumer.pause([self._topic_partition((topic, partition))])

    def resume_where_drained(self) -> None:
        drained = [
            log
            for log in self._paused
            if all(reader.buffered(*log) < RESUME_BELOW_RECORDS for reader in self._readers[log])
        ]
        if drained:
            self._paused.difference_update(drained)
            self._consumer.resume([self._topic_partition(log) for log in drained if log not in self._archived])

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
