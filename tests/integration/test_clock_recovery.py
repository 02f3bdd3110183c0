"""What a restarted feed reads of its topics, on a real broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence

from configs.settings import KafkaSection, load_settings
from dataflows.sources.market.clock_recovery import Log, clocked_logs, feed_topic_reader
from deploy.supervisor.topics import TopicSpec, create_topics
from schemas.codec import encode
from schemas.records import Clock, Record
from sinks.kafka import producer
from tests.builders import bar

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
