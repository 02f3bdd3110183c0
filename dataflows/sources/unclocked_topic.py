"""Read a topic without a clock, from its beginning to its current end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from configs.settings import KafkaSection
from schemas.codec import decode
from schemas.errors import Unavailable
from sinks.cluster import client_config
from sinks.log_offsets import log_range, offsets_at_times


def read_unclocked(
    kafka: KafkaSection, topic: str, *, may_be_missing: bool = False, since_ns: int | None = None
) -> Iterator[Any]:
    """Yield the records of a one-partition topic without a clock, to its current end.

    Reading starts at the beginning, or at the first message written at or after `since_ns` (wall clock). Raises
    Unavailable, also if the topic does not exist, unless it `may_be_missing`: a log of an older release.
    """
    name = kafka.topic_prefix + topic
    consumer = Consumer(client_config(kafka.cluster, {"group.id": "untimed", "log_level": 0}))
    try:
        if may_be_missing and name not in consumer.list_topics(timeout=10).topics:
            return
        low, high = log_range(consumer, name, 0, timeout_s=10)
        if since_ns is not None:
            requested = TopicPartition(name, 0, since_ns // 1_000_000)
            [position] = offsets_at_times(consumer, [requested], timeout_s=10)
            low = high if position.offset < 0 else position.offset
        consumer.assign([TopicPartition(name, 0, low)])
        offset = low
        while offset < high:
            messages = consumer.consume(min(1000, high - offset), timeout=10)
            if not messages:
                raise Unavailable(f"topic {name}: no messages received within 10 s")
            for message in messages:
                offset = (message.offset() or 0) + 1
                yield decode(message.value())
    except KafkaException as error:
        raise Unavailable(f"topic {name}: {error.args[0].str()}") from error
    finally:
        consumer.close()
