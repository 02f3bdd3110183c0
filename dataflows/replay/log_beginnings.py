"""The beginnings of logs that their topics no longer hold, for a rebuild."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, KafkaException

from configs.settings import KafkaSection
from dataflows.runtime import topology
from schemas.codec import decode
from schemas.errors import BadInput, Unavailable, Undecodable
from sinks.cluster import client_config
from sinks.log_offsets import log_range


def require_beginnings(kafka: KafkaSection, service: str, shards: Sequence[str]) -> None:
    """Require the first message of every input, in its topic or in the archive. Raises BadInput and Unavailable."""
    logs = {log[:2] for shard in shards for log in topology.input_logs(service, shard, kafka.symbol_partitions)}
    try:
        with closing(Consumer(client_config(kafka.cluster, {"group.id": "rebuild", "log_level": 0}))) as consumer:
            for topic, partition in sorted(logs):
                low, _ = log_range(consumer, kafka.topic_prefix + topic, partition, timeout_s=10)
                if low and kafka.archive is None:
                    raise BadInput(f"topic {topic}/{partition} starts at offset {low}, so it cannot be replayed")
                if low and kafka.archive is not None:
                    kafka.archive.require(topic, partition, 0, low)
    except KafkaException as error:
        raise Unavailable(f"inputs of {service}: {error.args[0].str()}") from error


def archived_records(kafka: KafkaSection, topic: str, partition: int, end: int, start: int = 0) -> Iterator[Any]:
    """Yield the records and clocks of a log from `start` to before `end`, which its topic no longer holds."""
    if kafka.archive is None:
        raise BadInput(f"topic {topic}/{partition} starts at offset {end}, so its beginning cannot be replayed")
    kafka.archive.require(topic, partition, start, end)
    for message in kafka.archive.messages(topic, partition, start, end):
        try:
            yield decode(message.value)
        except Undecodable:
            continue
