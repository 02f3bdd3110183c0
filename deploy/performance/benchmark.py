"""Measure latencies and rates of a running platform.

Latencies between topics are differences of Kafka's record timestamps (set by the producer, in whole milliseconds) of
the clock records that close a time slice in every topic. No test records are injected: the real traffic is measured.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.errors import DeployError
from schemas.records import REGULAR

if TYPE_CHECKING:
    from configs.settings import KafkaSection
    from sinks.cluster import Servers

FEED_TOPIC = "market-bars"
_MESSAGES_PER_SLICE = 12
"""Number of messages per requested time slice that are read from the end of a partition."""


class BenchmarkResult(NamedTuple):
    """One measurement of `n` observations. `p50` and `p99` are in ms; for a rate in `unit`, `p99` is None."""

    name: str
    target: float
    unit: str
    p50: float | None
    p99: float | None
    n: int
    how: str

    @property
    def met(self) -> bool | None:
        """Return whether the p50 or the rate meets the target; None without observations."""
        if self.p50 is None:
            return None
        return self.p50 < self.target if self.unit == "ms" else self.p50 >= self.target


class ClosedSlices(NamedTuple):
    """When time slices were closed in topics.

    `closed_at_ms`: topic -> event time -> ms since 1970 at which the last partition received the clock record.
    `with_records`: topic -> event times of the time slices with other records than the clock.
    """

    closed_at_ms: dict[str, dict[int, int]]
    with_records: dict[str, set[int]]


class CatchUp(NamedTuple):
    """The time slices after a start that were closed while the services were behind the feed: their number, and the
    seconds in which the feed published them. `ended` is False if the services were behind until the last time slice.
    """

    slices: int
    seconds: float
    ended: bool

    def describe(self) -> str:
        if not self.ended:
            return "the services were behind the feed all the time, so the latencies include their backlog"
        if not self.slices:
            return "the services were never behind the feed"
        left_out = f"{self.slices:,} time slices ({self.seconds:.1f} s of the feed)"
        return f"left out: {left_out} at the start, while the services caught up with the feed"


HOPS = (
    # name, target in ms, from, to, only time slices with records in, how
    ("Order latency", 10.0, ("market-bars",), "orders", "orders", "bar in market-bars to its order in orders"),
    ("Market data latency", 5.0, ("market-bars",), "features", None, "bar in market-bars to its features in features"),
    (
        "Portfolio update",
        50.0,
        ("executions", "signals"),
        "valuations",
        "executions",
        "fill in executions to the portfolio of its time slice in valuations",
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


def measure_hops(kafka: KafkaSection, slice_count: int) -> tuple[list[BenchmarkResult], CatchUp]:
    """Measure the latencies of the last `slice_count` time slices, without those of the catch-up after a start.

    Raises DeployError if Kafka does not respond.
    """
    topics = sorted({topic for hop in HOPS for topic in (*hop[2], hop[3], hop[4]) if topic is not None})
    slice_times, catch_up = without_catch_up(read_slice_times(kafka, topics, slice_count))
    return hop_latencies(slice_times), catch_up


def without_catch_up(slice_times: ClosedSlices) -> tuple[ClosedSlices, CatchUp]:
    """Leave out the time slices before all topics have caught up with the feed.

    A topic has caught up when it receives the clock of a time slice before the feed closes the next one. The services
    start after the feed, so the first time slices wait for them: their latency is the duration of a start, not the
    latency of the platform.

    >>> feed = {1: 0, 2: 100, 3: 200, 4: 300, 5: 400}
    >>> behind = {1: 250, 2: 260, 3: 270, 4: 310, 5: 420}
    >>> retained, left_out = without_catch_up(ClosedSlices({"market-bars": feed, "orders": behind}, {}))
    >>> sorted(retained.closed_at_ms["orders"]), left_out
    ([3, 4, 5], CatchUp(slices=2, seconds=0.2, ended=True))
    """
    feed_ms = slice_times.closed_at_ms.get(FEED_TOPIC, {})
    ordered = sorted(feed_ms)
    first = 0
    for topic, closed_ms in slice_times.closed_at_ms.items():
        caught_up = (
            number
            for number, (ts_ns, next_ns) in enumerate(pairwise(ordered))
            if closed_ms.get(ts_ns, math.inf) <= feed_ms[next_ns]
        )
        index = 0 if topic == FEED_TOPIC else next(caught_up, None)
        if index is None:
            return slice_times, CatchUp(0, 0.0, ended=False)
        first = max(first, index)
    retained_ns = set(ordered[first:])
    closed_at_ms = {
        topic: {ts_ns: ms for ts_ns, ms in closed_ms.items() if ts_ns in retained_ns}
        for topic, closed_ms in slice_times.closed_at_ms.items()
    }
    seconds = (feed_ms[ordered[first]] - feed_ms[ordered[0]]) / 1e3 if ordered else 0.0
    return ClosedSlices(closed_at_ms, slice_times.with_records), CatchUp(first, seconds, ended=True)


def hop_latencies(slice_times: ClosedSlices) -> list[BenchmarkResult]:
    """Calculate the latency of each hop from the time slices that both its topics have.

    >>> at = {"order-proposals": {1: 100, 2: 200}, "orders": {1: 103, 2: 209}}
    >>> [figure] = [f for f in hop_latencies(ClosedSlices(at, {"order-proposals": {1, 2}})) if f.name == "Risk check"]
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
        results.append(
            _latency(name, target, latencies_ms, f"{how}; Kafka's timestamps, time slices with such a record")
        )
    return results


def read_slice_times(kafka: KafkaSection, topics: Sequence[str], slice_count: int) -> ClosedSlices:
    """Read the last time slices that each topic has in all its partitions."""
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
            selected_ns = sorted(common_ns)[-slice_count:]
            closed_at_ms[topic] = {ts_ns: max(clocks[ts_ns] for clocks, _ in partition_clocks) for ts_ns in selected_ns}
            with_records[topic] = set.union(*(busy_ns for _, busy_ns in partition_clocks))
    except KafkaException as error:
        raise DeployError(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return ClosedSlices(closed_at_ms, with_records)


def _read_clocks(messages: Iterator[Any]) -> tuple[dict[int, int], set[int]]:
    """Return, for one partition, event time -> message time of each clock, and the time slices with other records."""
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
        # A crash can repeat a clock: the first one counts.
        closed_at_ms.setdefault(record.ts_ns, message.timestamp()[1])
        if has_records:
            with_records.add(record.ts_ns)
        has_records = False
    return closed_at_ms, with_records


def _read_last_messages(consumer: Any, topic: str, partition: int, count: int) -> Iterator[Any]:
    """Yield the last messages of a partition, up to its current end. Raises DeployError."""
    from confluent_kafka import TopicPartition

    from sinks.log_offsets import log_range

    low, high = log_range(consumer, topic, partition, timeout_s=10)
    first = max(low, high - count)
    if first >= high:
        return
    consumer.assign([TopicPartition(topic, partition, first)])
    offset = first
    while offset < high:
        messages = consumer.consume(min(1000, high - offset), timeout=10)
        if not messages:
            raise DeployError(f"no messages from topic {topic}, partition {partition} within 10 s")
        for message in messages:
            if message.error() is None:
                offset = message.offset() + 1
                yield message


def database_queries(database_url: str, repetitions: int = 200) -> BenchmarkResult:
    """Measure the most frequent queries of the API, in sequence on one connection. Raises DeployError."""
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
        raise DeployError(f"cannot read the database: {str(error.orig or error).strip().splitlines()[0]}") from error
    finally:
        engine.dispose()
    how = "positions, last valuation, 100 bars, 50 orders, 50 fills in turn, rows fetched, one connection"
    return _latency("Database query", 100.0, latencies_ms, how)


def message_rate(kafka: KafkaSection, messages: int = 50_000) -> BenchmarkResult:
    """Measure how fast this process writes bars to a temporary topic and reads them back. Raises DeployError."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from deploy.supervisor.topics import TopicSpec, create_topics
    from sinks.cluster import client_config

    servers, topic = kafka.cluster, f"{kafka.topic_prefix}benchmark-{uuid.uuid4().hex[:8]}"
    admin = AdminClient(client_config(servers, {"log_level": 0}))
    try:
        create_topics(servers, [TopicSpec(topic, 1)], replication=-1)
        started_at = time.perf_counter()
        _write_bars(servers, topic, messages)
        _read_bars(servers, topic, messages)
        rate = messages / (time.perf_counter() - started_at)
    except KafkaException as error:
        raise DeployError(f"Kafka at {servers}: {error.args[0].str()}") from error
    finally:
        admin.delete_topics([topic])[topic].exception(30)
    how = (
        "bars encoded, produced, then consumed and decoded by one process, one partition, acknowledged by all replicas"
    )
    return BenchmarkResult(
        name="Message throughput", target=10_000.0, unit="messages/s", p50=rate, p99=None, n=messages, how=how
    )


def _write_bars(servers: Servers, topic: str, count: int) -> None:
    """Write bars to the only partition of a topic, until all are acknowledged. Raises DeployError."""
    from schemas.codec import encode
    from schemas.records import Bar
    from sinks.kafka import producer

    kafka_producer = producer(servers)
    bar = Bar(
        symbol="SPY",
        seq=1,
        ts_ns=60,
        open_ns=0,
        open=100.0,
        high=101.0,
        low=99.0,
        close=100.5,
        volume=1e6,
        session=REGULAR,
        trading_day=20240102,
        traded=True,
    )
    for number in range(count):
        while True:
            try:
                kafka_producer.produce(topic, encode(bar._replace(seq=number)), partition=0)
                break
            except BufferError:
                kafka_producer.poll(0.05)
    if kafka_producer.flush(60):
        raise DeployError(f"Kafka at {servers} did not acknowledge {count:,} messages within 60 s")


def _read_bars(servers: Servers, topic: str, count: int) -> None:
    """Read and decode the messages of a topic with one partition. Raises DeployError if there are fewer."""
    from confluent_kafka import Consumer, TopicPartition

    from schemas.codec import decode
    from sinks.cluster import client_config

    with closing(Consumer(client_config(servers, {"group.id": topic, "log_level": 0}))) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        remaining = count
        while remaining:
            batch = consumer.consume(min(5000, remaining), timeout=15)
            if not batch:
                raise DeployError(f"Kafka at {servers} returned only {count - remaining:,} of {count:,} messages")
            for message in batch:
                decode(message.value())
            remaining -= len(batch)


def _latency(name: str, target: float, latencies_ms: list[float], how: str) -> BenchmarkResult:
    return BenchmarkResult(
        name=name,
        target=target,
        unit="ms",
        p50=quantile(latencies_ms, 0.5),
        p99=quantile(latencies_ms, 0.99),
        n=len(latencies_ms),
        how=how,
    )


def quantile(values: list[float], fraction: float) -> float | None:
    """Return a quantile with linear interpolation; None without values.

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
