"""Find the position of a record in its topic, without an index.

Event time does not decrease within a partition, except that a restarted writer repeats some records. The position is
therefore found by bisection over offsets; each probe reads one message. For a record that was written twice, one of its
positions is returned. If a record is no longer in its topic, the archived files of its day are searched.

An external record takes effect at the next clock in its log, not at its own time. The search starts where the log was
written at the record's time (wall clock). If that fails, it covers the whole log, because a record of a tape has the
tape's time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from operators.explain.cause_tree import RecordPosition
from operators.partitions import partition_of
from schemas.codec import DEFAULT_CODEC, Codec
from schemas.errors import Unavailable, Undecodable
from schemas.records import TOPIC_OF, UNCLOCKED_RECORDS, Clock, Record, SequencedRecord, has_seq, has_symbol
from sinks.archive.topic_archive import TopicArchive, archive_day
from sinks.cluster import Servers, client_config
from sinks.log_offsets import log_range, offsets_at_times

_PROBE_TIMEOUT_S = 5.0
_SCAN_MESSAGES_MAX = 10_000  # messages read from the start of a time slice; a time slice holds fewer
_WRITE_DELAY_MS = 5_000  # upper bound between an external record's time and its append to the log
_CLOCKS_BEFORE = 500


class RecordLocator:
    """Locates any number of records with one consumer; call `close`. Raises Unavailable if Kafka does not respond."""

    def __init__(
        self,
        servers: Servers,
        partitions: int,
        *,
        prefix: str = "",
        codec: Codec = DEFAULT_CODEC,
        archive: TopicArchive | None = None,
    ) -> None:
        self._partitions, self._prefix, self._decode = partitions, prefix, codec.decode
        self._archive = archive
        options = {
            "group.id": f"{prefix}platform-places",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 2,
            "fetch.wait.max.ms": 20,
            # Each probe discards prefetched messages.
            "queued.max.messages.kbytes": 64,
            "fetch.message.max.bytes": 16384,
            "log_level": 0,
        }
        self._consumer = Consumer(client_config(servers, options))
        self._assigned: TopicPartition | None = None

    def find(self, record: Record) -> RecordPosition | None:
        """Return the position of a record, or None if the log does not (or no longer) hold it.

        Dead letters and late records have no position, because their topics are not ordered.
        """
        if type(record) in UNCLOCKED_RECORDS:
            return None
        topic = TOPIC_OF[type(record)]
        partition = partition_of(record.symbol, self._partitions) if has_symbol(record) else 0
        try:
            low, high = log_range(self._consumer, self._prefix + topic, partition, timeout_s=_PROBE_TIMEOUT_S)
            if has_seq(record):
                first = self._first_not_before(topic, partition, low, high, record.ts_ns)
                position = self._scan_forward(topic, partition, first, high, record)
                return position if position or not low else self._find_archived(topic, partition, low, record)
            return self._find_external_record(topic, low, high, record)
        except KafkaException as error:
            raise Unavailable(f"topic {topic}: {error.args[0].str()}") from error

    def close(self) -> None:
        self._consumer.close()

    def _first_not_before(self, topic: str, partition: int, low: int, high: int, ts_ns: int) -> int:
        while low < high:
            middle = (low + high) // 2
            probe = self._read(topic, partition, middle)
            if probe is not None and probe.ts_ns < ts_ns:
                low = middle + 1
            else:
                high = middle
        return low

    def _scan_forward(
        self, topic: str, partition: int, first: int, high: int, record: SequencedRecord
    ) -> RecordPosition | None:
        identity = (type(record), record.seq)
        symbol = record.symbol if has_symbol(record) else None
        for offset in range(first, min(high, first + _SCAN_MESSAGES_MAX)):
            candidate = self._read(topic, partition, offset)
            if candidate is None:
                continue
            if (type(candidate), getattr(candidate, "seq", None)) == identity and symbol in (
                None,
                getattr(candidate, "symbol", None),
            ):
                return RecordPosition(topic, partition, offset, record.ts_ns)
            if candidate.ts_ns > record.ts_ns:
                return None
        return None

    def _find_archived(self, topic: str, partition: int, end: int, record: SequencedRecord) -> RecordPosition | None:
        """Search the archived files of the record's day before the offset `end`."""
        if self._archive is None:
            return None
        symbol = record.symbol if has_symbol(record) else None
        files = self._archive.files(topic, partition)
        # Its clock may be of the next day.
        of_day = [file for file in files if file.day >= archive_day(record.ts_ns) and file.start < end][:2]
        for file in of_day:
            for message in self._archive.file_messages(topic, partition, file):
                try:
                    entry = self._decode(message.value)
                except Undecodable:
                    continue
                if (
                    type(entry) is type(record)
                    and entry.seq == record.seq
                    and symbol in (None, getattr(entry, "symbol", None))
                ):
                    return RecordPosition(topic, partition, message.offset, record.ts_ns)
        return None

    def _find_external_record(self, topic: str, low: int, high: int, record: Record) -> RecordPosition | None:
        """Search partition 0 of an external record's topic near the record's time, else from the beginning."""
        start_time = TopicPartition(self._prefix + topic, 0, max(0, record.ts_ns // 1_000_000 - _WRITE_DELAY_MS))
        offset_at_time = offsets_at_times(self._consumer, [start_time], timeout_s=_PROBE_TIMEOUT_S)[0].offset
        # Include some earlier clocks, to recognise repeated clocks of a restarted feed.
        start = max(low, offset_at_time - _CLOCKS_BEFORE) if offset_at_time >= 0 else high
        return self._scan(topic, start, min(high, start + _SCAN_MESSAGES_MAX), high, record) or (
            self._scan(topic, low, high, high, record) if start > low or high - start > _SCAN_MESSAGES_MAX else None
        )

    def _scan(self, topic: str, start: int, end: int, high: int, record: Record) -> RecordPosition | None:
        """Search for the id between two offsets, then read on to the clock at which it takes effect, if it exists."""
        match_offset = clock_ns = -1
        for offset, entry in self._records(topic, start, high):
            if type(entry) is Clock:
                if match_offset >= 0 and entry.ts_ns > clock_ns:
                    return RecordPosition(topic, 0, match_offset, entry.ts_ns)
                clock_ns = max(clock_ns, entry.ts_ns)
            elif match_offset < 0:
                if offset >= end:
                    return None
                if type(entry) is type(record) and _identity(entry) == _identity(record):
                    match_offset = offset
        return None if match_offset < 0 else RecordPosition(topic, 0, match_offset)

    def _records(self, topic: str, start: int, high: int) -> Iterator[tuple[int, Any]]:
        """Yield offset and record of each decodable message of partition 0 from `start` to `high`."""
        self._consumer.assign([self._topic_partition(topic, 0, start)])
        self._assigned = None
        next_offset, deadline = start, time.monotonic() + _PROBE_TIMEOUT_S
        while next_offset < high:
            messages = self._consumer.consume(1000, timeout=0.1)
            if messages:
                deadline = time.monotonic() + _PROBE_TIMEOUT_S
            elif time.monotonic() > deadline:
                raise Unavailable(f"topic {topic}: offset {next_offset} not read within {_PROBE_TIMEOUT_S} s")
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
                next_offset = (message.offset() or 0) + 1
                try:
                    yield next_offset - 1, self._decode(message.value())
                except Undecodable:
                    continue

    def _read(self, topic: str, partition: int, offset: int) -> Any:
        """Return the record or clock at an offset, or None if it cannot be decoded."""
        message = self._fetch(self._topic_partition(topic, partition, offset))
        try:
            return self._decode(message)
        except Undecodable:
            return None

    def _fetch(self, position: TopicPartition) -> bytes | None:
        assigned = self._assigned
        if assigned is None or (assigned.topic, assigned.partition) != (position.topic, position.partition):
            self._consumer.assign([position])
            self._assigned = position
        elif assigned.offset != position.offset:
            self._consumer.seek(position)
        deadline = time.monotonic() + _PROBE_TIMEOUT_S
        while time.monotonic() < deadline:
            message = self._consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is not None:
                raise KafkaException(message.error())
            if message.offset() == position.offset:
                self._assigned = TopicPartition(position.topic, position.partition, position.offset + 1)
                return message.value()
        raise Unavailable(
            f"topic {position.topic} partition {position.partition}: offset {position.offset} not read within"
            f" {_PROBE_TIMEOUT_S} s"
        )

    def _topic_partition(self, topic: str, partition: int, offset: int = 0) -> TopicPartition:
        return TopicPartition(self._prefix + topic, partition, offset)


def _identity(record: Any) -> tuple[Any, str]:
    """Return the id and the signature of an external record. A forged record can have the id of an authentic one."""
    return record[0], getattr(record, "signature", "")
