"""What the topics of a temporary platform contain."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from configs.settings import KafkaSection
from dataflows.replay.recording import open_recording
from dataflows.runtime import topology
from dataflows.sources.topic_tail import topic_tail_reader
from deploy.errors import DeployError
from operators.stage import TimeSlice
from schemas.log_names import LogName
from sinks.cluster import client_config
from sinks.log_offsets import log_range


def read_inputs(kafka: KafkaSection) -> list[TimeSlice]:
    """Return the time slices of all inputs in the topics. Raises DeployError if there are none."""
    with closing(open_recording(kafka, "chaos")) as recording:
        time_slices = list(recording.inputs)
    if not time_slices:
        raise DeployError("the feed has published no time slice")
    return time_slices


def read_logs(kafka: KafkaSection, partitions: int) -> Iterator[tuple[LogName, list[bytes]]]:
    """Yield every message of every topic that a service owns and others depend on, including repeated records."""
    consumer = Consumer(client_config(kafka.cluster, {"group.id": "chaos", "enable.auto.commit": False}))
    try:
        seen = set(topology.HINT_TOPICS)
        for service in topology.SERVICES.values():
            for topic in {*service.outputs, *service.unclocked} - seen:
                seen.add(topic)
                for partition in topology.partitions_of(topic, partitions):
                    yield (topic, partition), _messages(consumer, topic, partition)
    finally:
        consumer.close()


def wait_for_records(kafka: KafkaSection, topic: str, ids: Collection[str], timeout_s: float = 90.0) -> None:
    """Wait until the topic (of one partition) holds all `ids`. Raises DeployError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while missing := set(ids) - {str(record[0]) for record in topic_tail_reader(kafka, topic)()}:
        if time.monotonic() > deadline:
            raise DeployError(f"topic {topic} did not receive {min(missing)} within {timeout_s:.0f} s")
        time.sleep(0.5)


def _messages(consumer: Any, topic: str, partition: int) -> list[bytes]:
    start = TopicPartition(topic, partition, 0)
    _, end = log_range(consumer, topic, partition, timeout_s=20)
    consumer.assign([start])
    messages: list[bytes] = []
    while len(messages) < end:
        batch = consumer.consume(min(1000, end - len(messages)), timeout=20)
        if not batch:
            raise DeployError(f"topic {topic} partition {partition}: received {len(messages)} of {end} messages")
        messages += [message.value() or b"" for message in batch if message.error() is None]
    return messages
