"""Finds where a record stands in its topic, without an index of its own.

Event time does not go back within a partition, except that a restarted writer repeats a little. So the place is found
by bisection over offsets: each probe reads one message. A record that was written twice is found at one of its places.

What an edge learnt has no event time but its place: it takes effect at the first clock behind it. It is looked for from
where the log was written at the record's own time, a wall clock's, and where it is not there in the whole log: a tape's
record carries the tape's time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from operators.explain.lineage import RecordPosition
from operators.partitions import partition_of
from schemas.codec import DEFAULT_CODEC, Codec
from schemas.errors import Unavailable, Undecodable
from schemas.records import BY_SYMBOL, EXTERNAL_RECORDS, TOPIC_OF, UNCLOCKED_RECORDS, Clock, Record
from sinks.cluster import Servers, client_config

_PROBE_TIMEOUT_S = 5.0
_SCAN_MESSAGES_MAX = 10_000  # messages read on from where the time begins; a tick holds fewer
_WRITE_DELAY_MS = 5_000  # between the moment at which an edge learns something and that at which it stands in the log
_CLOCKS_BEFORE = 500


class RecordLocator:
    """One consumer for any number of look-ups; `close` it. Raises Unavailable where Kafka does not answer."""

    def __init__(self, servers: Servers, partitions: int, *, prefix: str = "", codec: Codec = DEFAULT_CODEC) -> None:
        self._partitions, self._prefix, self._decode = partitions, prefix, codec.decode
        options = {
            "group.id": f"{prefix}platform-places",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 2,
            "fetch.wait.max.ms": 20,
            # Each probe throws away what was fetched ahead.
            "queued.max.messages.kbytes": 64,
            "fetch.message.max.bytes": 16384,
            "log_level": 0,
        }
        self._consumer = Consumer(client_config(servers, options))
        self._assigned: TopicPartition | None = None

    def find(self, record: Record) -> RecordPosition | None:
        """The place of a record, or None where the log does not hold it (any more). Of what could not be taken in, or
        came too late, there is none: those topics are in no order.
        """
        kind = type(record)
        if kind in UNCLOCKED_RECORDS:
            return None
        topic = TOPIC_OF[kind]
        partition = partition_of(record.symbol, self._partitions) if kind in BY_SYMBOL else 0  # type: ignore[union-attr]
        try:
            low, high = self._consumer.get_watermark_offsets(
                self._topic_partition(topic, partition), timeout=_PROBE_TIMEOUT_S
            )
            if kind in EXTERNAL_RECORDS:
                return self._find_edge_record(topic, low, high, record)
            first = self._first_not_before(topic, partition, low, high, record.ts_ns)
            return self._scan_forward(topic, partition, first, high, record)
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

    def _scan_forward(self, topic: str, partition: int, first: int, high: int, record: Record) -> RecordPosition | None:
        identity = (type(record), record.seq)  # type: ignore[union-attr]
        symbol = getattr(record, "symbol", None) if type(record) in BY_SYMBOL else None
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

    def _find_edge_record(self, topic: str, low: int, high: int, record: Record) -> RecordPosition | None:
        """Partition 0 of an edge's topic: near the time at which the record was written, else from the beginning."""
        start_time = TopicPartition(self._prefix + topic, 0, max(0, record.ts_ns // 1_000_000 - _WRITE_DELAY_MS))
        offset_at_time = self._consumer.offsets_for_times([start_time], timeout=_PROBE_TIMEOUT_S)[0].offset
        # A few clocks before it, to know which of those behind it are repeats of a feed that was started again.
        start = max(low, offset_at_time - _CLOCKS_BEFORE) if offset_at_time >= 0 else high
        return self._scan(topic, start, min(high, start + _SCAN_MESSAGES_MAX), high, record) or (
            self._scan(topic, low, high, high, record) if start > low or high - start > _SCAN_MESSAGES_MAX else None
        )

    def _scan(self, topic: str, start: int, end: int, high: int, record: Record) -> RecordPosition | None:
        """Look for the id between two offsets, then on to the clock at which it takes effect, which may not be there
        yet.
        """
        match_offset = clock_ns = -1
        for offset, entry in self._records(topic, start, high):
            if type(entry) is Clock:
                if match_offset >= 0 and entry.ts_ns > clock_ns:
                    return RecordPosition(topic, 0, match_offset, entry.ts_ns)
                clock_ns = max(clock_ns, entry.ts_ns)
            elif match_offset < 0:
                if offset >= end:
                    return None
                if type(entry) is type(record) and entry[0] == record[0]:
                    match_offset = offset
        return None if match_offset < 0 else RecordPosition(topic, 0, match_offset)

    def _records(self, topic: str, start: int, high: int) -> Iterator[tuple[int, Any]]:
        """Offset and record of each message of partition 0 from `start` to `high` that can be read."""
        self._consumer.assign([self._topic_partition(topic, 0, start)])
        self._assigned = None
        next_offset, deadline = start, time.monotonic() + _PROBE_TIMEOUT_S
        while next_offset < high:
            messages = self._consumer.consume(1000, timeout=0.1)
            if messages:
                deadline = time.monotonic() + _PROBE_TIMEOUT_S
            elif time.monotonic() > deadline:
                raise Unavailable(f"topic {topic}: offset {next_offset} was not read in {_PROBE_TIMEOUT_S} s")
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
                next_offset = (message.offset() or 0) + 1
                try:
                    yield next_offset - 1, self._decode(message.value())
                except Undecodable:
                    continue

    def _read(self, topic: str, partition: int, offset: int) -> Any:
        """The record or clock at an offset; None for one that cannot be read."""
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
            f"topic {position.topic}: partition {position.partition} offset {position.offset} was not read in {_PROBE_TIMEOUT_S} s"
        )

    def _topic_partition(self, topic: str, partition: int, offset: int = 0) -> TopicPartition:
        return TopicPartition(self._prefix + topic, partition, offset)
