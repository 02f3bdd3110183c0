"""The latencies and rates of a running platform, each with how it was measured.

Latencies between topics come from Kafka's own record timestamps (set where a message is produced, whole milliseconds)
of the clock records that close a tick in every topic: nothing is injected, and what is measured is what happened.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.errors import DeployError

if TYPE_CHECKING:
    from configs.settings import KafkaSection

WARM_UP_SLICES = 30
"""So many at the beginning of a log are of a platform that is still starting."""
_MESSAGES_PER_SLICE = 12
"""Messages of a partition that are read back for each tick asked for; what is further back is not looked at."""


class BenchmarkResult(NamedTuple):
    """One line of the table. Times in ms; a rate in `unit` has no p99. `n` observations; None where there were none."""

    name: str
    target: float
    unit: str
    p50: float | None
    p99: float | None
    n: int
    how: str

    @property
    def met(self) -> bool | None:
        """Whether the p50 (or the rate) is within the target; None without observations."""
        if self.p50 is None:
            return None
        return self.p50 < self.target if self.unit == "ms" else self.p50 >= self.target


class SliceTimes(NamedTuple):
    """`at`: topic -> event time of a tick -> ms since 1970 at which its clock stood in all partitions. `with_records`: topic ->
    ticks whose records in the topic are more than a clock.
    """

    closed_at_ms: dict[str, dict[int, int]]
    with_records: dict[str, set[int]]


HOPS = (
    # name, target in ms, from, to, only ticks with records in, how
    ("Order latency", 10.0, ("market-bars",), "orders", "orders", "bar in market-bars to its order in orders"),
    ("Market data latency", 5.0, ("market-bars",), "features", None, "bar in market-bars to its features in features"),
    (
        "Portfolio update",
        50.0,
        ("executions", "signals"),
        "valuations",
        "executions",
        "fill in executions to the books of its tick in valuations",
    ),
    (
        "Risk check",
        20.0,
        ("order-proposals",),
        "orders",
        "order-proposals",
        "proposal in order-proposals to its verdict in orders",
    ),
)


def measure_hops(kafka: KafkaSection, slice_count: int) -> list[BenchmarkResult]:
    """The latencies of the last `slice_count` ticks. Raises DeployError where Kafka does not answer."""
    topics = sorted({topic for hop in HOPS for topic in (*hop[2], hop[3], hop[4]) if topic is not None})
    return hop_latencies(read_slice_times(kafka, topics, slice_count))


def hop_latencies(slice_times: SliceTimes) -> list[BenchmarkResult]:
    """Of ticks that stand in both topics of a hop.

    >>> at = {"order-proposals": {1: 100, 2: 200}, "orders": {1: 103, 2: 209}}
    >>> [figure] = [f for f in hop_latencies(SliceTimes(at, {"order-proposals": {1, 2}})) if f.name == "Risk check"]
    >>> figure.p50, figure.n
    (6.0, 2)
    """
    results = []
    for name, target, from_topics, to_topic, record_topic, how in HOPS:
        to_closed_at_ms = slice_times.closed_at_ms.get(to_topic, {})
        selected_ns = (
            to_closed_at_ms.keys()
            if record_topic is None
            else to_closed_at_ms.keys() & slice_times.with_records.get(record_topic, set())
        )
        latencies_ms = [
            float(
                to_closed_at_ms[ts_ns] - max(slice_times.closed_at_ms[from_topic][ts_ns] for from_topic in from_topics)
            )
            for ts_ns in selected_ns
            if all(ts_ns in slice_times.closed_at_ms.get(from_topic, {}) for from_topic in from_topics)
        ]
        results.append(_latency(name, target, latencies_ms, f"{how}; Kafka's timestamps, ticks with such a record"))
    return results


def read_slice_times(kafka: KafkaSection, topics: Sequence[str], slice_count: int) -> SliceTimes:
    """The last ticks that each topic has in all its partitions."""
    from confluent_kafka import Consumer, KafkaException

    from sinks.cluster import client_config

    closed_at_ms: dict[str, dict[int, int]] = {}
    with_records: dict[str, set[int]] = {}
    consumer = Consumer(client_config(kafka.cluster, {"group.id": "benchmark", "log_level": 0}))
    try:
        for topic in topics:
            partitions = kafka.topics[topic].partitions
            count = kafka.symbol_partitions if partitions == "symbols" else partitions
            name = kafka.topic_prefix + topic
            partition_clocks = [
                _read_clocks(_read_last_messages(consumer, name, partition, slice_count * _MESSAGES_PER_SLICE))
                for partition in range(count)
            ]
            common_ns = set.intersection(*(set(clocks) for clocks, _ in partition_clocks))
            selected_ns = sorted(common_ns)[WARM_UP_SLICES:][-slice_count:]
            closed_at_ms[topic] = {ts_ns: max(clocks[ts_ns] for clocks, _ in partition_clocks) for ts_ns in selected_ns}
            with_records[topic] = set.union(*(busy_ns for _, busy_ns in partition_clocks))
    except KafkaException as error:
        raise DeployError(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return SliceTimes(closed_at_ms, with_records)


def _read_clocks(messages: Iterator[Any]) -> tuple[dict[int, int], set[int]]:
    """Of one partition: event time of each clock -> its message's time, and the ticks that have records before them."""
    from schemas.codec import decode
    from schemas.errors import Undecodable
    from schemas.records import Clock

    closed_at_ms: dict[int, int] = {}
    with_records: set[int] = set()
    has_records = False
    for message in messages:
        try:
            record: Any = decode(message.value())
        except Undecodable:
            continue
        if type(record) is not Clock:
            has_records = True
            continue
        # After a crash a clock may come again: the first one counts.
        closed_at_ms.setdefault(record.ts_ns, message.timestamp()[1])
        if has_records:
            with_records.add(record.ts_ns)
        has_records = False
    return closed_at_ms, with_records


def _read_last_messages(consumer: Any, topic: str, partition: int, count: int) -> Iterator[Any]:
    """The last messages of a partition as it stands now."""
    from confluent_kafka import TopicPartition

    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
    first = max(low, high - count)
    if first >= high:
        return
    consumer.assign([TopicPartition(topic, partition, first)])
    offset = first
    while offset < high:
        messages = consumer.consume(min(1000, high - offset), timeout=10)
        if not messages:
            raise DeployError(f"topic {topic} partition {partition} does not answer")
        for message in messages:
            if message.error() is None:
                offset = message.offset() + 1
                yield message


def database_queries(database_url: str, repetitions: int = 200) -> BenchmarkResult:
    """What the API asks most, one after the other on one connection."""
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    from sinks.database import open_engine

    queries = (
        "SELECT * FROM positions",
        "SELECT * FROM valuations ORDER BY seq DESC LIMIT 1",
        "SELECT * FROM bars WHERE symbol = (SELECT min(symbol) FROM positions) ORDER BY ts_ns DESC LIMIT 100",
        "SELECT * FROM orders ORDER BY seq DESC LIMIT 50",
        "SELECT * FROM executions ORDER BY seq DESC LIMIT 50",
    )
    latencies_ms: list[float] = []
    engine = open_engine(database_url)
    try:
        with engine.connect() as db:
            for number in range(repetitions):
                started_at = time.perf_counter()
                db.execute(text(queries[number % len(queries)])).all()
                latencies_ms.append((time.perf_counter() - started_at) * 1e3)
    except DBAPIError as error:
        raise DeployError(f"the database cannot be read: {str(error.orig or error).strip().splitlines()[0]}") from error
    finally:
        engine.dispose()
    how = "positions, last valuation, 100 bars, 50 orders, 50 fills in turn, rows fetched, one connection"
    return _latency("Database query", 100.0, latencies_ms, how)


def message_rate(kafka: KafkaSection, messages: int = 50_000) -> BenchmarkResult:
    """Bars encoded and produced to a topic of its own, then consumed and decoded, by this process; the topic goes."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    from dataflows.sources.kafka import wait_for_topics
    from schemas.codec import decode, encode
    from schemas.records import Bar
    from sinks.cluster import client_config
    from sinks.kafka import producer

    servers, topic = kafka.cluster, f"{kafka.topic_prefix}benchmark-{uuid.uuid4().hex[:8]}"
    admin = AdminClient(client_config(servers, {"log_level": 0}))
    try:
        admin.create_topics([NewTopic(topic, 1, -1)])[topic].result(30)
        wait_for_topics(servers, [topic])
        kafka_producer = producer(servers)
        bar = Bar("SPY", 1, 60, 0, 100.0, 101.0, 99.0, 100.5, 1e6, "REGULAR", 20240102, True)
        started_at = time.perf_counter()
        for number in range(messages):
            while True:
                try:
                    kafka_producer.produce(topic, encode(bar._replace(seq=number)), partition=0)
                    break
                except BufferError:
                    kafka_producer.poll(0.05)
        if kafka_producer.flush(60):
            raise DeployError(f"Kafka at {servers} did not take {messages:,} messages within a minute")
        with closing(Consumer(client_config(servers, {"group.id": topic, "log_level": 0}))) as consumer:
            consumer.assign([TopicPartition(topic, 0, 0)])
            remaining = messages
            while remaining:
                batch = consumer.consume(min(5000, remaining), timeout=15)
                if not batch:
                    raise DeployError(
                        f"Kafka at {servers} gave back only {messages - remaining:,} of {messages:,} messages"
                    )
                for message in batch:
                    decode(message.value())
                remaining -= len(batch)
        rate = messages / (time.perf_counter() - started_at)
    except KafkaException as error:
        raise DeployError(f"Kafka at {servers}: {error.args[0].str()}") from error
    finally:
        admin.delete_topics([topic])[topic].exception(30)
    how = (
        "bars encoded, produced, then consumed and decoded by one process, one partition, acknowledged by all replicas"
    )
    return BenchmarkResult("Message throughput", 10_000.0, "messages/s", rate, None, messages, how)


def _latency(name: str, target: float, latencies_ms: list[float], how: str) -> BenchmarkResult:
    return BenchmarkResult(
        name, target, "ms", quantile(latencies_ms, 0.5), quantile(latencies_ms, 0.99), len(latencies_ms), how
    )


def quantile(values: list[float], fraction: float) -> float | None:
    """
    >>> quantile([1.0, 2.0, 3.0], 0.5), quantile([], 0.5)
    (2.0, None)
    """
    if not values:
        return None
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
