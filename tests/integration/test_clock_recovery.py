"""What a restarted feed reads of its topics, on a real broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from configs.settings import KafkaSection, LiveFeedSection, load_settings
from dataflows.runtime import topology
from dataflows.sources.market.clock_recovery import Log, clocked_logs, feed_topic_reader
from dataflows.sources.market.live_feed import LiveFeed
from deploy.supervisor.topics import TopicSpec, create_topics
from schemas.codec import decode, encode
from schemas.records import Clock, Record
from sinks.cluster import client_config
from sinks.kafka import KafkaSliceSink, producer
from sinks.log_offsets import log_range
from tests.builders import bar
from tests.unit.test_live_feed import START_NS, FakeProvider

PARTITIONS, SECOND_NS = 2, 10**9


def empty_topics(servers: str) -> KafkaSection:
    """Create the feed's topics with a new prefix, and return their settings."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "KAFKA__TOPIC_PREFIX": prefix,
        "KAFKA__SYMBOL_PARTITIONS": str(PARTITIONS),
    }
    counts: dict[str, int] = {"market-trades": PARTITIONS}
    for topic, partition in clocked_logs(PARTITIONS):
        counts[topic] = max(counts.get(topic, 0), partition + 1)
    create_topics(servers, [TopicSpec(prefix + topic, count) for topic, count in counts.items()])
    return load_settings(environment=environment).kafka


def write(kafka: KafkaSection, messages: Mapping[Log, Sequence[Record | Clock]]) -> None:
    sender = producer(kafka.cluster)
    for (topic, partition), records in messages.items():
        for record in records:
            sender.produce(kafka.topic_prefix + topic, encode(record), partition=partition)
    assert sender.flush(60) == 0


def test_the_topics_end_at_different_clocks(kafka: str) -> None:
    section = empty_topics(kafka)
    read = feed_topic_reader(section)
    assert read(None).missing_clocks(-1) == []
    logs = clocked_logs(PARTITIONS)
    one, two, three, four = (Clock(at_ns, "market_data@1") for at_ns in (1, 2, 3, 4))
    messages: dict[Log, list[Record | Clock]] = {log: [one, two] for log in logs}
    messages["market-bars", 1] += [bar("D", 1, 3), three, four]
    messages["broker-updates", 0] += [three, Clock(9, "another@1")]
    write(section, messages)
    for since_ns in (None, time.time_ns()):
        state = read(since_ns)
        assert state.clocks == dict.fromkeys(logs, 2) | {("market-bars", 1): 4, ("broker-updates", 0): 3}
        assert state.missing_clocks(1) == [3, 4]
        assert (state.common_clock_ns(1), state.common_clock_ns(1, "market-bars")) == (2, 2)
        assert {symbol: last.seq for symbol, last in state.bars.items()} == {"D": 1}
    # Everything is older than a snapshot of the next day.
    state = read(time.time_ns() + 86_400 * SECOND_NS)
    assert (state.common_clock_ns(4), state.missing_clocks(4)) == (4, [])


def clocks_of(kafka: KafkaSection, log: Log) -> list[int]:
    """Return the clocks of a log as its reader sees them."""
    topic = kafka.topic_prefix + log[0]
    consumer = Consumer(client_config(kafka.cluster, {"group.id": "test", "enable.auto.commit": False}))
    with closing(consumer):
        low, high = log_range(consumer, topic, log[1], timeout_s=60)
        consumer.assign([TopicPartition(topic, log[1], low)])
        clocks: list[int] = []
        while consumer.position([TopicPartition(topic, log[1])])[0].offset < high:
            for message in consumer.consume(100, 0.1):
                record = decode(message.value() or b"")
                if type(record) is Clock and record.ts_ns > max(clocks, default=-1):
                    clocks.append(record.ts_ns)
        return clocks


def test_a_restarted_feed_completes_the_clocks_of_all_topics(kafka: str) -> None:
    section, now_ns, provider = empty_topics(kafka), START_NS, FakeProvider()
    settings = LiveFeedSection(symbols=("A", "D"), calendar="24/7")
    logs = clocked_logs(PARTITIONS)
    sink = KafkaSliceSink(
        section.cluster,
        writer="market_data@1",
        topics=topology.SERVICES["market_data"].outputs,
        clock_partitions={topology.FEED_SHARD: logs},
        partitions=PARTITIONS,
        prefix=section.topic_prefix,
    ).build_part("kafka", topology.FEED_SHARD, None)

    def open_feed(state: dict[str, Any] | None) -> LiveFeed:
        return LiveFeed(settings, [provider], feed_topic_reader(section), now_ns=lambda: now_ns).resume(state)

    feed = open_feed(None)
    sink.write_batch([feed.take(10)])
    sink.snapshot()
    state = feed.state()
    first, second = (Clock(now_ns + number * SECOND_NS // 4, "market_data@1") for number in (1, 2))
    write(section, {("market-bars", 0): [first], ("commands", 0): [first, second]})
    now_ns += 2 * SECOND_NS
    sink.write_batch([open_feed(state).take(10)])
    sink.snapshot()
    clocks = {log: clocks_of(section, log) for log in logs}
    assert {first.ts_ns, second.ts_ns} < set(clocks["commands", 0])
    assert clocks == dict.fromkeys(logs, clocks["commands", 0])
