"""Export and import the raw messages of a log (one partition of a topic), with their offsets and timestamps.

A message is stored as its timestamp (ms), key, value and headers. Offsets are not stored: they are consecutive, from
the log's start to its end. The import writes into an empty log. If the first offset is above 0, because older messages
have expired, it writes that number of empty messages first and deletes them again.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.backup.archive import Write
from deploy.backup.manifest import LogContent
from deploy.errors import DeployError
from schemas.codec import SCHEMA_IDS, decode
from schemas.errors import BadInput, Undecodable
from schemas.records import Clock
from sinks.admin_operations import admin_result
from sinks.cluster import Servers, client_config
from sinks.kafka import wait_for_producer_ids
from sinks.log_offsets import log_range

Headers = Sequence[tuple[str, bytes | None]]

_HEAD = struct.Struct("<qiiH")  # timestamp (ms), bytes of key and value (-1: none), number of headers
_HEADER = struct.Struct("<Hi")  # bytes of name and value (-1: none)
_CLOCK_PREFIX = bytes([0]) + SCHEMA_IDS[Clock].to_bytes(4, "big")
_TIMEOUT_S = 10.0
_FLUSH_TIMEOUT_S = 120.0
_LEADER_TIMEOUT_S = 30.0
_POLL_MESSAGES = 10_000
_MESSAGE_BYTES_MAX = 64 << 20
_TAIL_MESSAGES = 500


class StoredMessage(NamedTuple):
    """A message without its offset. `timestamp_ms` is in ms since 1970."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def pack(message: StoredMessage) -> bytes:
    """Return the stored form of a message."""
    timestamp_ms, key, value, headers = message
    parts = [_HEAD.pack(timestamp_ms, _size(key), _size(value), len(headers)), key or b"", value or b""]
    for name, content in headers:
        encoded = name.encode()
        parts += [_HEADER.pack(len(encoded), _size(content)), encoded, content or b""]
    return b"".join(parts)


def _size(content: bytes | None) -> int:
    return -1 if content is None else len(content)


def unpack(chunks: Iterable[bytes], name: str) -> Iterator[StoredMessage]:
    """Yield the messages of an entry. Raises BadInput, naming the entry, if it ends within a message."""
    reader = _FrameReader(chunks, name)
    while head := reader.read(_HEAD.size, may_end=True):
        timestamp_ms, key_size, value_size, header_count = _HEAD.unpack(head)
        key, value = reader.read_optional(key_size), reader.read_optional(value_size)
        headers = []
        for _ in range(header_count):
            name_size, content_size = _HEADER.unpack(reader.read(_HEADER.size))
            headers.append((reader.read(name_size).decode(), reader.read_optional(content_size)))
        yield StoredMessage(timestamp_ms, key, value, headers)


class _FrameReader:
    def __init__(self, chunks: Iterable[bytes], name: str) -> None:
        self._chunks, self._name, self._buffer, self._at = iter(chunks), name, b"", 0

    def read(self, size: int, *, may_end: bool = False) -> bytes:
        if size > _MESSAGE_BYTES_MAX:
            raise BadInput(f"entry {self._name} has a message of {size:,} bytes, at most {_MESSAGE_BYTES_MAX:,}")
        while len(self._buffer) - self._at < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                if may_end and self._at == len(self._buffer):
                    return b""
                raise BadInput(f"entry {self._name} ends within a message")
            self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        self._at += size
        return self._buffer[self._at - size : self._at]

    def read_optional(self, size: int) -> bytes | None:
        return None if size < 0 else self.read(size)


def clock_of(value: bytes | None) -> int | None:
    """Return the time (ns) of a clock message; None for any other message."""
    if value is None or not value.startswith(_CLOCK_PREFIX):
        return None
    try:
        record = decode(value)
    except Undecodable:
        return None
    return record.ts_ns if isinstance(record, Clock) else None


class LogReader:
    """Reads logs of one cluster. `prefix` precedes each topic name. Methods raise DeployError."""

    def __init__(self, servers: Servers, prefix: str) -> None:
        self._servers, self._prefix = servers, prefix
        options = {"group.id": f"{prefix}backup", "enable.auto.commit": False, "log_level": 0}
        options |= {"auto.offset.reset": "error", "enable.partition.eof": False}
        # The broker handles the requests of a connection one after another: a waiting fetch delays the next request.
        options |= {"fetch.wait.max.ms": 5, "fetch.queue.backoff.ms": 2}
        self._consumer = Consumer(client_config(servers, options))

    def close(self) -> None:
        self._consumer.close()

    def existing_topics(self) -> set[str]:
        """Return the names of the existing topics with the prefix, without it."""
        names = self._call(lambda: self._consumer.list_topics(timeout=_TIMEOUT_S).topics)
        return {name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)}

    def offsets(self, topic: str, partition: int) -> LogContent:
        name = self._prefix + topic
        low, high = self._call(lambda: log_range(self._consumer, name, partition, timeout_s=_TIMEOUT_S))
        return LogContent(start=low, end=high)

    def last_clock_ns(self, topic: str, partition: int) -> int:
        """Return the last clock of a log, -1 if it has none."""
        content = self.offsets(topic, partition)
        start, count = content.end, _TAIL_MESSAGES
        while start > content.start:
            start, end = max(content.start, start - count), start
            clocks = [clock_of(message.value) for _, message in self.messages(topic, partition, start, end)]
            if known := [clock for clock in clocks if clock is not None]:
                return max(known)
            count *= 4
        return -1

    def messages(
        self, topic: str, partition: int, start: int, end: int | None, *, idle_timeout_s: float = _TIMEOUT_S
    ) -> Iterator[tuple[int, StoredMessage]]:
        """Yield `(offset, message)` from `start` up to `end` (exclusive); without an end, until the caller stops.

        Raises DeployError if no message arrives within `idle_timeout_s`.
        """
        name = self._prefix + topic
        if end is not None and start >= end:
            return
        self._consumer.assign([TopicPartition(name, partition, start)])
        try:
            while True:
                first = self._call(lambda: self._consumer.poll(idle_timeout_s))
                if first is None:
                    raise DeployError(f"topic {name}/{partition}: no message arrived within {idle_timeout_s:.0f} s")
                for message in [first, *self._call(lambda: self._consumer.consume(_POLL_MESSAGES, 0))]:
                    error = message.error()
                    if error is not None:
                        raise DeployError(f"topic {name}/{partition}: {error.str()}")
                    offset = message.offset() or 0
                    if end is not None and offset >= end:
                        return
                    yield offset, _stored(message)
                    if offset + 1 == end:
                        return
        finally:
            self._consumer.unassign()

    def _call(self, request: Any) -> Any:
        try:
            return request()
        except KafkaException as error:
            raise DeployError(f"cannot read the topics at {self._servers}: {error.args[0].str()}") from error


def _stored(message: Any) -> StoredMessage:
    kind, timestamp_ms = message.timestamp()
    headers = message.headers() or ()
    return StoredMessage(
        0 if kind == TIMESTAMP_NOT_AVAILABLE else timestamp_ms, message.key(), message.value(), headers
    )


# -- export ------------------------------------------------------------------------------------------------------------


def export_complete(reader: LogReader, topic: str, partition: int, write: Write, end: int | None = None) -> LogContent:
    """Write all messages of a log, or those before `end`."""
    content = reader.offsets(topic, partition)
    content = LogContent(start=content.start, end=content.end if end is None else end)
    expected = content.start
    for offset, message in reader.messages(topic, partition, content.start, content.end):
        _require_next(topic, partition, expected, offset)
        write(pack(message))
        expected += 1
    return content


def export_to_clock(
    reader: LogReader, topic: str, partition: int, cut_ns: int, write: Write, *, timeout_s: float
) -> LogContent:
    """Write the messages of a log up to its last clock at or before `cut_ns`.

    Waits until the log has reached the cut. Raises DeployError if it does not move for `timeout_s`.
    """
    start = expected = end = reader.offsets(topic, partition).start
    pending: list[bytes] = []  # messages after the last clock
    for offset, message in reader.messages(topic, partition, start, None, idle_timeout_s=timeout_s):
        _require_next(topic, partition, expected, offset)
        expected += 1
        clock_ns = clock_of(message.value)
        if clock_ns is not None and clock_ns > cut_ns:
            break
        pending.append(pack(message))
        if clock_ns is not None:
            write(b"".join(pending))
            pending, end = [], expected
            if clock_ns == cut_ns:
                break
    return LogContent(start=start, end=end)


def export_before(reader: LogReader, topic: str, partition: int, cut_ns: int, write: Write) -> LogContent:
    """Write the messages of a log without clocks whose record is not later than `cut_ns`.

    No service stores an offset in such a log, so later messages may have other offsets after a message is left out. The
    first offset stays the same, because the archive may contain the messages before it.
    """
    content, count = reader.offsets(topic, partition), 0
    for _, message in reader.messages(topic, partition, content.start, content.end):
        if _record_ns(message.value) <= cut_ns:
            write(pack(message))
            count += 1
    return LogContent(start=content.start, end=content.start + count)


def _record_ns(value: bytes | None) -> int:
    try:
        return int(getattr(decode(value or b""), "ts_ns", -1))
    except Undecodable:
        return -1


def _require_next(topic: str, partition: int, expected: int, offset: int) -> None:
    if offset != expected:
        raise DeployError(
            f"topic {topic}/{partition} has no message at offset {expected} (the next one is {offset}), so a restore "
            "could not preserve the offsets; the platform's topics must be neither compacted nor transactional"
        )


# -- import ------------------------------------------------------------------------------------------------------------


class LogWriter:
    """Fills empty logs of one cluster. `prefix` precedes each topic name. Methods raise DeployError."""

    def __init__(self, servers: Servers, prefix: str) -> None:
        self._servers, self._prefix = servers, prefix
        wait_for_producer_ids(servers)
        options = {
            "enable.idempotence": True,  # neither loss nor reordering: the offsets are those of the backup
            "acks": "all",
            "linger.ms": 5,
            "batch.size": 1 << 20,
            "compression.type": "zstd",
            "message.timeout.ms": int(_FLUSH_TIMEOUT_S * 1000),
            "queue.buffering.max.messages": 200_000,
            "log_level": 0,
        }
        self._producer = Producer(client_config(servers, options))
        self._admin = AdminClient(client_config(servers, {"log_level": 0}))
        self._reader = LogReader(servers, prefix)

    def close(self) -> None:
        self._reader.close()

    def fill(self, topic: str, partition: int, content: LogContent, messages: Iterator[StoredMessage]) -> None:
        """Write the messages into an empty log, so that they have the offsets of `content`."""
        name = f"{self._prefix}{topic}/{partition}"
        offsets = self._first_offsets(topic, partition)
        if offsets.end:
            raise DeployError(f"topic {name} is not empty (it ends at offset {offsets.end})")
        if content.start:
            self._write(topic, partition, (StoredMessage(0, None, b"") for _ in range(content.start)))
            self._delete_before(topic, partition, content.start)
        count = self._write(topic, partition, messages)
        offsets = self._reader.offsets(topic, partition)
        if (offsets.start, offsets.end, count) != (content.start, content.end, content.end - content.start):
            raise DeployError(
                f"topic {name} has offsets {offsets.start} to {offsets.end} after the import, expected "
                f"{content.start} to {content.end}; another program writes to it, or the backup is damaged"
            )

    def _first_offsets(self, topic: str, partition: int) -> LogContent:
        """Return the offsets of a log that may just have been created: its broker leads it a moment later."""
        deadline = time.monotonic() + _LEADER_TIMEOUT_S
        while True:
            try:
                return self._reader.offsets(topic, partition)
            except DeployError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _write(self, topic: str, partition: int, messages: Iterator[StoredMessage]) -> int:
        name, failures, count = self._prefix + topic, deque[str](maxlen=1), 0

        def on_delivery(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failures.append(error.str())

        for timestamp_ms, key, value, headers in messages:
            while not failures:
                try:
                    self._producer.produce(
                        name,
                        value,
                        key,
                        partition,
                        on_delivery=on_delivery,
                        timestamp=timestamp_ms,
                        headers=list(headers),
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
            if failures:
                break
            count += 1
            if not count % 1000:
                self._producer.poll(0)
        if self._producer.flush(_FLUSH_TIMEOUT_S) or failures:
            raise DeployError(f"cannot write topic {name}/{partition}: {[*failures, 'no response from Kafka'][0]}")
        return count

    def _delete_before(self, topic: str, partition: int, offset: int) -> None:
        log = TopicPartition(self._prefix + topic, partition, offset)
        try:
            for future in self._admin.delete_records([log], operation_timeout=_FLUSH_TIMEOUT_S).values():
                admin_result(future, _FLUSH_TIMEOUT_S)
        except KafkaException as error:
            raise DeployError(f"cannot delete messages of topic {log.topic}: {error.args[0].str()}") from error
