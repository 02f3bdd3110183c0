"""The recorded topics of a platform as ticks: what an edge wrote, and what the stages made of it.

Both come through the live services' own reader (`dataflows/sources/kafka.py`), so repeats after a restart, late
records and the place of a command among the clocks are taken exactly as they were when the platform ran. Reading
commits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from configs.settings import Kafka
from dataflows.runtime import topology
from dataflows.sources.kafka import KafkaTicks, Until
from operators.alignment import VERSION, Counts, Log
from operators.stage import Tick
from schemas.codec import decode
from schemas.errors import Unavailable
from sinks.cluster import client

GIVEN = topology.SERVICES["market_data"].outputs
"""Topics that an edge writes: all that a replay starts from."""
DERIVED = (
    "features",
    "predictions",
    "sentiment",
    "llm-requests",
    "signals",
    "executions",
    "order-intents",
    "positions",
    "valuations",
    "order-proposals",
    "orders",
    "order-refusals",
    "risk-events",
    "weights",
    "attribution",
)
"""Topics that the stages write, in the order in which a tick passes them."""

Counted = Callable[[Counts], None]
"""Told what a reader met."""


class Recording(NamedTuple):
    """Two streams of ticks over the same time, each with the records of its topics."""

    given: Iterator[Tick]
    derived: Iterator[Tick]

    def close(self) -> None:
        """Let go of the consumers, for a reader that does not read to the end."""
        for ticks in self:
            if isinstance(ticks, Generator):
                ticks.close()


def recording(kafka: Kafka, reader: str, until: Until | None = None) -> Recording:
    """What stands in the topics now. `reader` names the consumer group, whose offsets are never committed.

    Iterating raises Unavailable where Kafka does not answer or the topics do not reach back to their beginning.
    """
    until = until or Until(end_of_logs=True)
    return Recording(_ticks(kafka, reader, GIVEN, until), _ticks(kafka, reader, DERIVED, until))


def read_topics(
    kafka: Kafka,
    reader: str,
    topics: Sequence[str],
    *,
    until: Until | None = None,
    since_ns: int | None = None,
    counted: Counted = lambda _: None,
) -> Generator[Tick]:
    """Some topics alone, to where they end now or as `until` says; from their beginning, or from what was written at a
    moment of the wall clock. `counted` is told at the end what the reader met. Iterating raises Unavailable.
    """
    return _ticks(kafka, reader, topics, until or Until(end_of_logs=True), since_ns, counted)


def read_untimed(kafka: Kafka, topic: str) -> Iterator[Any]:
    """The records of a topic of one partition without a clock, to where it ends now. Raises Unavailable."""
    name = kafka.topic_prefix + topic
    consumer = Consumer(client(kafka.cluster, {"group.id": "untimed", "log_level": 0}))
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(name, 0), timeout=10)
        consumer.assign([TopicPartition(name, 0, low)])
        at = low
        while at < high:
            messages = consumer.consume(min(1000, high - at), timeout=10)
            if not messages:
                raise Unavailable(f"topic {name} does not answer")
            for message in messages:
                at = (message.offset() or 0) + 1
                yield decode(message.value())
    except KafkaException as error:
        raise Unavailable(f"topic {name}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def ends_of(kafka: Kafka, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """The offset behind the last message of each log, for `Until`. Raises Unavailable."""
    consumer = Consumer(client(kafka.cluster, {"group.id": "ends", "log_level": 0}))
    logs = [
        (topic, partition) for topic in topics for partition in topology.partitions_of(topic, kafka.symbol_partitions)
    ]
    try:
        found = {}
        for topic, partition in logs:
            at = TopicPartition(kafka.topic_prefix + topic, partition)
            found[topic, partition] = consumer.get_watermark_offsets(at, timeout=10)[1]
        return found
    except KafkaException as error:
        raise Unavailable(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _since(kafka: Kafka, logs: Sequence[Log], since_ns: int) -> Any:
    """The snapshot of a reader that stands at the first message written at a moment or later."""
    consumer = Consumer(client(kafka.cluster, {"group.id": "since", "log_level": 0}))
    asked = [TopicPartition(kafka.topic_prefix + log.topic, log.partition, since_ns // 1_000_000) for log in logs]
    try:
        places = consumer.offsets_for_times(asked, timeout=10)
        starts: dict[str, Any] = {}
        for log, place in zip(logs, places, strict=True):
            offset = place.offset if place.offset >= 0 else consumer.get_watermark_offsets(place, timeout=10)[1]
            starts[f"{log.topic}/{log.partition}"] = (offset, -1, {})
        return (VERSION, -1, starts)
    finally:
        consumer.close()


def _ticks(
    kafka: Kafka,
    reader: str,
    topics: Sequence[str],
    until: Until,
    since_ns: int | None = None,
    counted: Counted = lambda _: None,
) -> Generator[Tick]:
    # Commands before bars, as in every stage that reads both.
    ranked = sorted(topics, key=lambda topic: topic in topology.SYMBOL_TOPICS) if topics is GIVEN else topics
    logs = [
        Log(topic, partition, rank)
        for rank, topic in enumerate(ranked)
        for partition in topology.partitions_of(topic, kafka.symbol_partitions)
    ]
    source = KafkaTicks(
        kafka.cluster, reader, {topology.BOOKS: logs}, prefix=kafka.topic_prefix, until=until, wait_s=0.05
    )
    try:
        start = None if since_ns is None else _since(kafka, logs, since_ns)
        with closing(source.build_part("replay", topology.BOOKS, start)) as part:
            while True:
                try:
                    batch = part.next_batch()
                except StopIteration:
                    counted(part.counts)
                    return
                for _, ticks in batch:
                    yield from ticks
    except KafkaException as error:
        raise Unavailable(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from error
