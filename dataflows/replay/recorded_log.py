"""Read one log of a service for a rebuild: its records without repeats, and its last clock."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from configs.settings import KafkaSection
from dataflows.replay.log_beginnings import archived_records
from schemas.codec import decode
from schemas.errors import Unavailable, Undecodable
from schemas.log_names import LogName
from schemas.records import BY_SYMBOL, Clock, Record
from sinks.cluster import client_config
from sinks.log_offsets import log_range

READ_TIMEOUT_S = 60.0
_TAIL_MESSAGES = 1000


class RebuildStart(NamedTuple):
    """Where a rebuild starts, if not at the beginning of the topics: the states of a service's shards after a time
    slice, and an offset after this time slice in each log that the services write.
    """

    slice_ns: int
    states: Mapping[str, tuple[Any, Any]]
    outputs: Mapping[LogName, int]


def unique_records(
    kafka: KafkaSection, topic: str, partition: int, last_slice_ns: int, start: RebuildStart | None
) -> Iterator[Record]:
    """Yield the records of a log after `start` up to a time slice, without the duplicates that restarts wrote."""
    seqs: dict[str, int] = {}
    after_ns, offset = (-1, None) if start is None else (start.slice_ns, start.outputs[topic, partition])
    for record in read_log(kafka, topic, partition, first=offset):
        if type(record) is Clock:
            if record.ts_ns >= last_slice_ns:
                return
            continue
        if record.ts_ns <= after_ns:
            continue
        key = record.symbol if type(record) in BY_SYMBOL else ""
        if record.seq > seqs.get(key, 0):
            seqs[key] = record.seq
            yield record


def read_log(
    kafka: KafkaSection, topic: str, partition: int, last: int | None = None, first: int | None = None
) -> Generator[Any]:
    """Yield the records and clocks of a log up to its current end; with `last`, only of its last messages.

    With `first`, the log is read from this offset on.
    """
    name, config = kafka.topic_prefix + topic, {"group.id": "rebuild", "enable.auto.commit": False, "log_level": 0}
    try:
        with closing(Consumer(client_config(kafka.cluster, config))) as consumer:
            low, high = log_range(consumer, name, partition, timeout_s=10)
            begin = first or 0
            if low > begin and last is None:
                yield from archived_records(kafka, topic, partition, low, begin)
            offset = max(low, begin) if last is None else max(low, high - last)
            consumer.assign([TopicPartition(name, partition, offset)])
            deadline = time.monotonic() + READ_TIMEOUT_S
            while offset < high:
                messages = consumer.consume(min(1000, high - offset), timeout=1)
                if not messages and time.monotonic() > deadline:
                    raise Unavailable(f"topic {topic}/{partition}: no messages received within {READ_TIMEOUT_S:.0f} s")
                for message in messages:
                    offset, deadline = (message.offset() or 0) + 1, time.monotonic() + READ_TIMEOUT_S
                    try:
                        yield decode(message.value())
                    except Undecodable:
                        continue
    except KafkaException as error:
        raise Unavailable(f"topic {topic}/{partition}: {error.args[0].str()}") from error


def last_common_clock_ns(last_clocks: Mapping[LogName, int]) -> int:
    """Return the last time slice that is in all logs, -1 if there is none. A topic without a clock is ignored: it was
    created after the last time slice.

    >>> last_common_clock_ns({("signals", 0): 60, ("signals", 1): 120, ("strategy-suspensions", 0): -1})
    60
    """
    started = {topic for (topic, _), clock_ns in last_clocks.items() if clock_ns >= 0}
    return min((clock_ns for (topic, _), clock_ns in last_clocks.items() if topic in started), default=-1)


def last_clock_ns(kafka: KafkaSection, topic: str, partition: int) -> int:
    """Return the time of the last clock in a log, -1 if it has none."""
    for last in (_TAIL_MESSAGES, None):
        clocks = [record.ts_ns for record in read_log(kafka, topic, partition, last) if type(record) is Clock]
        if clocks:
            return max(clocks)
    return -1
