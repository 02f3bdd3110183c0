"""Read ranges of messages of several logs at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.codec import decode
from schemas.errors import Unavailable, Undecodable
from schemas.log_names import LogName

READ_TIMEOUT_S = 60.0


def read_ranges(consumer: Consumer, ranges: Mapping[LogName, tuple[int, int]]) -> dict[LogName, list[tuple[int, Any]]]:
    """Return the decodable records and clocks of each log from its first offset up to its end, each with its offset.

    The keys of `ranges` are the topic (with its prefix) and the partition. All logs are read together, because
    the first message of a log takes long. Raises KafkaException, and Unavailable if no message arrives for
    `READ_TIMEOUT_S`.
    """
    records: dict[LogName, list[tuple[int, Any]]] = {log: [] for log in ranges}
    offsets = {log: start for log, (start, end) in ranges.items() if start < end}
    if not offsets:
        return records
    consumer.assign([TopicPartition(topic, partition, start) for (topic, partition), start in offsets.items()])
    deadline = time.monotonic() + READ_TIMEOUT_S
    while offsets:
        missing = sum(ranges[log][1] - offset for log, offset in offsets.items())
        messages = consumer.consume(min(1000, missing), timeout=0.5)
        if not messages and time.monotonic() > deadline:
            topic, partition = next(iter(offsets))
            raise Unavailable(f"topic {topic}/{partition}: no messages received within {READ_TIMEOUT_S:.0f} s")
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            deadline = time.monotonic() + READ_TIMEOUT_S
            log, offset = (str(message.topic()), message.partition() or 0), message.offset() or 0
            if log not in offsets:
                continue
            if offset < ranges[log][1]:
                with contextlib.suppress(Undecodable):
                    records[log].append((offset, decode(message.value())))
            offsets[log] = offset + 1
            if offset + 1 >= ranges[log][1]:
                del offsets[log]
                consumer.incremental_unassign([TopicPartition(*log)])
    return records
