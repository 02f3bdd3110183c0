"""Read the last records of a topic: what the service published before it was restarted."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from configs.settings import KafkaSection
from schemas.codec import DEFAULT_CODEC
from schemas.errors import Unavailable, Undecodable
from schemas.records import Clock
from sinks.cluster import client_config
from sinks.log_offsets import log_range

MESSAGES_MAX = 200_000  # including clocks: more than two days at one per second
READ_TIMEOUT_S = 60.0


def topic_tail_reader(kafka: KafkaSection, topic: str, messages_max: int = MESSAGES_MAX) -> Callable[[], list[Any]]:
    """Return a function that reads the last records of a topic's partition 0, oldest first.

    The function raises Unavailable if Kafka does not respond within a minute.
    """
    return lambda: _read_tail(kafka, topic, messages_max)


def stored_ids_reader(
    kafka: KafkaSection, topic: str, store: Callable[[list[Any]], None], messages_max: int = MESSAGES_MAX
) -> Callable[[], list[str]]:
    """Return a function that reads those records, passes them to `store` and returns their ids (first fields).

    A process that was killed may have published records to the topic without storing them in the table. They are not
    fetched again, so they are stored here.
    """

    def read() -> list[str]:
        records = _read_tail(kafka, topic, messages_max)
        store(records)
        return [str(record[0]) for record in records]

    return read


def _read_tail(kafka: KafkaSection, topic: str, messages_max: int) -> list[Any]:
    consumer = Consumer(client_config(kafka.cluster, {"group.id": "none", "enable.auto.commit": False, "log_level": 0}))
    with closing(consumer):
        try:
            return _consume_tail(consumer, kafka.topic_prefix + topic, messages_max)
        except KafkaException as error:
            raise Unavailable(f"topic {topic}: {error.args[0].str()}") from error


def _consume_tail(consumer: Consumer, topic: str, messages_max: int) -> list[Any]:
    low, high = log_range(consumer, topic, 0, timeout_s=READ_TIMEOUT_S)
    offset = max(low, high - messages_max)
    records: list[Any] = []
    if offset >= high:
        return records
    consumer.assign([TopicPartition(topic, 0, offset)])
    deadline = time.monotonic() + READ_TIMEOUT_S
    while offset < high:
        if time.monotonic() > deadline:
            raise Unavailable(f"topic {topic}: the end was not reached within {READ_TIMEOUT_S:.0f} s")
        for message in consumer.consume(1000, 0.5):
            if message.error() is not None:
                raise KafkaException(message.error())
            offset = (message.offset() or 0) + 1
            try:
                record = DEFAULT_CODEC.decode(message.value())
            except Undecodable:
                continue  # the consumer of the topic creates the dead letter
            if type(record) is not Clock:
                records.append(record)
    return records
