"""Finds where a record stands in its topic, without an index of its own.

Event time does not go back within a partition, except that a restarted writer repeats a little. So the place is found
by bisection over offsets: each probe reads one message. A record that was written twice is found at one of its places.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from operators.lineage import Place
from operators.partitions import partition_of
from schemas.codec import DEFAULT, Codec
from schemas.errors import Unavailable, Undecodable
from schemas.records import BY_SYMBOL, FROM_EDGES, TOPIC_OF, UNTIMED, Record
from sinks.cluster import Servers, client

_PROBE_S = 5.0
_NEXT_MAX = 10_000  # messages read on from where the time begins; a tick holds fewer


class Places:
    """One consumer for any number of look-ups; `close` it. Raises Unavailable where Kafka does not answer."""

    def __init__(self, servers: Servers, partitions: int, *, prefix: str = "", codec: Codec = DEFAULT) -> None:
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
        self._consumer = Consumer(client(servers, options))
        self._assigned: TopicPartition | None = None

    def find(self, record: Record) -> Place | None:
        """The place of a record that has a time of its own, or None where the log does not hold it (any more).

        Not for what edges wrote: its time is a wall clock's and no place in the log.
        """
        kind = type(record)
        if kind in FROM_EDGES or kind in UNTIMED:
            return None
        topic = TOPIC_OF[kind]
        partition = partition_of(record.symbol, self._partitions) if kind in BY_SYMBOL else 0  # type: ignore[union-attr]
        try:
            low, high = self._consumer.get_watermark_offsets(self._at(topic, partition), timeout=_PROBE_S)
            first = self._first_not_before(topic, partition, low, high, record.ts_ns)
            return self._read_on(topic, partition, first, high, record)
        except KafkaException as error:
            raise Unavailable(f"topic {topic}: {error.args[0].str()}") from error

    def close(self) -> None:
        self._consumer.close()

    def _first_not_before(self, topic: str, partition: int, low: int, high: int, ts_ns: int) -> int:
        while low < high:
            middle = (low + high) // 2
            found = self._read(topic, partition, middle)
            if found is not None and found.ts_ns < ts_ns:
                low = middle + 1
            else:
                high = middle
        return low

    def _read_on(self, topic: str, partition: int, first: int, high: int, record: Record) -> Place | None:
        name = (type(record), record.seq)  # type: ignore[union-attr]
        symbol = getattr(record, "symbol", None) if type(record) in BY_SYMBOL else None
        for offset in range(first, min(high, first + _NEXT_MAX)):
            found = self._read(topic, partition, offset)
            if found is None:
                continue
            if (type(found), getattr(found, "seq", None)) == name and symbol in (None, getattr(found, "symbol", None)):
                return Place(topic, partition, offset)
            if found.ts_ns > record.ts_ns:
                return None
        return None

    def _read(self, topic: str, partition: int, offset: int) -> Any:
        """The record or clock at an offset; None for one that cannot be read."""
        message = self._message(self._at(topic, partition, offset))
        try:
            return self._decode(message)
        except Undecodable:
            return None

    def _message(self, at: TopicPartition) -> bytes | None:
        assigned = self._assigned
        if assigned is None or (assigned.topic, assigned.partition) != (at.topic, at.partition):
            self._consumer.assign([at])
            self._assigned = at
        elif assigned.offset != at.offset:
            self._consumer.seek(at)
        deadline = time.monotonic() + _PROBE_S
        while time.monotonic() < deadline:
            message = self._consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is not None:
                raise KafkaException(message.error())
            if message.offset() == at.offset:
                self._assigned = TopicPartition(at.topic, at.partition, at.offset + 1)
                return message.value()
        raise Unavailable(f"topic {at.topic}: partition {at.partition} offset {at.offset} was not read in {_PROBE_S} s")

    def _at(self, topic: str, partition: int, offset: int = 0) -> TopicPartition:
        return TopicPartition(self._prefix + topic, partition, offset)
