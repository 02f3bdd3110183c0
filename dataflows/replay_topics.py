"""The recorded topics of a platform as ticks: what an edge wrote, and what the stages made of it.

Both come through the live services' own reader (`dataflows/sources/kafka.py`), so repeats after a restart, late
records and the place of a command among the clocks are taken exactly as they were when the platform ran. Reading
commits nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import KafkaException

from configs.settings import Kafka
from dataflows import topology
from dataflows.sources.kafka import KafkaTicks, Until
from operators.alignment import Log
from operators.stage import Tick
from schemas.errors import Unavailable

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


def read_topics(kafka: Kafka, reader: str, topics: Sequence[str]) -> Generator[Tick]:
    """Some topics alone, from their beginning to where they end now. Iterating raises Unavailable."""
    return _ticks(kafka, reader, topics, Until(end_of_logs=True))


def _ticks(kafka: Kafka, reader: str, topics: Sequence[str], until: Until) -> Generator[Tick]:
    # Commands before bars, as in every stage that reads both.
    ranked = sorted(topics, key=lambda topic: topic in topology.SYMBOL_TOPICS) if topics is GIVEN else topics
    logs = [
        Log(topic, partition, rank)
        for rank, topic in enumerate(ranked)
        for partition in topology.partitions_of(topic, kafka.symbol_partitions)
    ]
    source = KafkaTicks(
        kafka.bootstrap_servers, reader, {topology.BOOKS: logs}, prefix=kafka.topic_prefix, until=until, wait_s=0.05
    )
    try:
        with closing(source.build_part("replay", topology.BOOKS, None)) as part:
            while True:
                try:
                    batch = part.next_batch()
                except StopIteration:
                    return
                for _, ticks in batch:
                    yield from ticks
    except KafkaException as error:
        raise Unavailable(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from error
