"""What a restarted feed reads of its topics, on a real broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from bytewax.recovery import init_db_dir
from confluent_kafka import Consumer, TopicPartition

from configs.settings import KafkaSection, LiveFeedSection, load_settings
from dataflows.replay.store_rebuild import rebuild_store
from dataflows.runtime import topology
from dataflows.sources.market import clock_recovery
from dataflows.sources.market.clock_recovery import clocked_logs, feed_logs, feed_topic_reader, read_feed_history
from dataflows.sources.market.live_feed import LiveFeed
from deploy.recovery.recovery_store import read_resume_states
from deploy.supervisor.topics import TopicSpec, create_topics
from schemas.codec import decode, encode
from schemas.errors import Unavailable
from schemas.log_names import LogName
from schemas.records import Clock, HistoryBar, Record, Trade
from sinks.cluster import client_config
from sinks.kafka import KafkaSliceSink, producer
from sinks.log_offsets import log_range
from sinks.postgres import PostgresWriter
from tests.builders import bar, quote
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
    counts: dict[str, int] = {}
    for topic, partition in clocked_logs(PARTITIONS):
        counts[topic] = max(counts.get(topic, 0), partition + 1)
    create_topics(servers, [TopicSpec(prefix + topic, count) for topic, count in counts.items()])
    return load_settings(environment=environment).kafka


def write(kafka: KafkaSection, messages: Mapping[LogName, Sequence[Record | Clock]]) -> None:
    sender = producer(kafka.cluster)
    for (topic, partition), records in messages.items():
        for record in records:
            sender.produce(kafka.topic_prefix + topic, encode(record), partition=partition)
    assert sender.flush(60) == 0


def test_the_topics_end_at_different_clocks(kafka: str) -> None:
    section = empty_topics(kafka)
    read = feed_topic_reader(section)
    empty = read(None)
    assert (empty.missing_clocks(-1), empty.ends) == ([], dict.fromkeys(feed_logs(PARTITIONS), 0))
    logs = clocked_logs(PARTITIONS)
    one, two, three, four = (Clock(at_ns, "market_data@1") for at_ns in (1, 2, 3, 4))
    messages: dict[LogName, list[Record | Clock]] = {log: [one, two] for log in logs}
    messages["market-bars", 1] += [bar("D", 1, 3), three, four]
    messages["broker-updates", 0] += [three, Clock(9, "another@1")]
    write(section, messages)
    for since in (empty.ends, time.time_ns()):  # the positions of a snapshot, or its wall clock in version 1
        state = read(since)
        assert state.clocks == dict.fromkeys(logs, 2) | {("market-bars", 1): 4, ("broker-updates", 0): 3}
        assert state.missing_clocks(1) == [3, 4]
        assert (state.common_clock_ns(1), state.common_clock_ns(1, "market-bars")) == (2, 2)
        assert {symbol: last.seq for symbol, last in state.bars.items()} == {"D": 1}
    # Everything is older than a snapshot of the next day.
    state = read(time.time_ns() + 86_400 * SECOND_NS)
    assert (state.common_clock_ns(4), state.missing_clocks(4)) == (4, [])


def test_a_restart_reads_only_what_the_snapshot_lacks(kafka: str) -> None:
    section = empty_topics(kafka)
    name, sender, first = section.topic_prefix + "market-bars", producer(section.cluster), encode(bar("D", 1, 1))
    for number in range(199_990):
        sender.produce(name, first, partition=1)
        if not number % 10_000:
            sender.flush(60)
    assert sender.flush(60) == 0
    write(section, {("market-bars", 1): [bar("D", seq, seq) for seq in range(199_991, 200_001)]})
    read = feed_topic_reader(section)
    positions = dict.fromkeys(feed_logs(PARTITIONS), 0) | {("market-bars", 1): 199_990}
    state = read(positions)
    assert (state.messages, state.bars["D"].seq) == (10, 200_000)
    assert state.ends[("market-bars", 1)] == 200_000
    assert read(state.ends).messages == 0


def test_counts_of_quotes_trades_and_history_continue_behind_the_snapshot(kafka: str) -> None:
    section = empty_topics(kafka)
    own: dict[LogName, Sequence[Record | Clock]] = {
        ("market-quotes", 0): [quote("A", seq, seq, 1.0, 2.0) for seq in (1, 2, 3)],
        ("market-trades", 0): [Trade(symbol="A", seq=seq, ts_ns=seq, price=1.0, size=1.0) for seq in (1, 2)],
        ("history-bars", 0): [
            HistoryBar(
                symbol="A",
                seq=seq,
                ts_ns=1,
                open_ns=0,
                end_ns=1,
                open=1.0,
                high=1.0,
                low=1.0,
                close=1.0,
                volume=1.0,
                session="REGULAR",
                trading_day=20260102,
                traded=True,
                adjusted_day=20260102,
            )
            for seq in (1, 2)
        ],
    }
    write(section, own)
    positions = dict.fromkeys(feed_logs(PARTITIONS), 0) | {("market-quotes", 0): 1, ("market-trades", 0): 2}
    state = feed_topic_reader(section)(positions)
    assert (state.quotes, state.trades, state.history) == ({"A": 3}, {}, {"A": 2})
    # The rebuilt positions are those behind the last clock of each log, or its beginning.
    rebuilt = read_feed_history(section, 1)
    assert (rebuilt.quotes, rebuilt.trades, rebuilt.history) == ({"A": 3}, {"A": 2}, {"A": 2})
    assert rebuilt.ends == dict.fromkeys(feed_logs(PARTITIONS), 0)


def test_published_records_that_their_tables_lack_are_stored(
    kafka: str, make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a feed that was killed while PostgreSQL was down: the topics hold more than the tables."""
    monkeypatch.setattr(clock_recovery, "STORED_TOGETHER", 2)
    section, url = empty_topics(kafka), make_database()
    bars = [bar("D", seq, seq) for seq in (1, 2, 3)]
    quotes = [quote("A", seq, seq, 1.0, 2.0) for seq in (1, 2)]
    write(section, {("market-bars", 1): [*bars, Clock(3, "market_data@1")], ("market-quotes", 0): quotes})

    def store(records: Sequence[Record]) -> None:
        with closing(PostgresWriter(url, name="test")) as writer:
            writer.write(records)

    store(bars[:2])
    read = feed_topic_reader(section, store)
    for _ in range(2):  # a restart during the recovery
        read(dict.fromkeys(feed_logs(PARTITIONS), 0) | {("market-bars", 1): 1})
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT 'bar', symbol, seq FROM bars UNION ALL SELECT 'quote', symbol, seq FROM quotes ORDER BY 1, 3"
        )
        assert cursor.fetchall() == [
            *(("bar", "D", seq) for seq in (1, 2, 3)),
            *(("quote", "A", seq) for seq in (1, 2)),
        ]


def test_a_rebuilt_store_continues_behind_the_last_clock_of_all_topics(kafka: str, tmp_path: Path) -> None:
    section = empty_topics(kafka)
    logs, first, second = clocked_logs(PARTITIONS), Clock(60, "market_data@1"), Clock(120, "market_data@1")
    messages: dict[LogName, list[Record | Clock]] = {log: [first] for log in logs}
    messages["market-quotes", 0] = [quote("A", 1, 60, 1.0, 2.0), quote("A", 2, 60, 1.0, 2.0), first]
    messages["market-bars", 1] = [bar("D", 1, 60), first, bar("D", 2, 120), second]
    write(section, messages)
    settings = load_settings(
        environment={
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "KAFKA__TOPIC_PREFIX": section.topic_prefix,
            "KAFKA__SYMBOL_PARTITIONS": str(PARTITIONS),
            "MARKET_DATA__FEED": "live",
            "MARKET_DATA__PROVIDERS": '["simulator"]',
        }
    )
    store = tmp_path / "store"
    store.mkdir()
    init_db_dir(store, 1)
    rebuild_store(settings, "market_data", [topology.FEED_SHARD], store)
    [snapshot] = [one for one in read_resume_states(store) if one.key == topology.FEED_SHARD]
    state = snapshot.state["feed"]
    assert (state["clock_ns"], state["quotes"], state["minutes"]["symbols"]) == (60, {"A": 2}, {"D": (1, 100.0)})
    topics = feed_topic_reader(section)(state["offsets"])
    assert (topics.messages, topics.missing_clocks(60)) == (2, [120]), "the bar and the clock that other topics lack"


def test_a_feed_that_ended_before_its_first_snapshot_continues(kafka: str) -> None:
    section = empty_topics(kafka)
    clock = Clock(1, "market_data@1")
    write(section, {("market-bars", 1): [bar("D", 1, 1), clock], ("commands", 0): [clock]})
    state = feed_topic_reader(section)(None)
    assert (state.bars["D"].seq, state.missing_clocks(-1)) == (1, [1])


def test_without_a_usable_position_the_start_is_refused(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    section = empty_topics(kafka)
    write(section, {("market-bars", 1): [bar("D", 1, 1)]})
    read = feed_topic_reader(section)
    monkeypatch.setattr(clock_recovery, "FIRST_MESSAGES_MAX", 0)
    with pytest.raises(Unavailable, match=r"no state, but its topics hold 1 messages.*rebuild market_data"):
        read(None)
    positions = dict.fromkeys(feed_logs(PARTITIONS), 0) | {("market-bars", 1): 5}
    with pytest.raises(Unavailable, match=r"offsets 0 to 1, but .* continues at 5;.*rebuild market_data"):
        read(positions)


def clocks_of(kafka: KafkaSection, log: LogName) -> list[int]:
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
    delivered: dict[LogName, int] = {}
    sink = KafkaSliceSink(
        section.cluster,
        writer="market_data@1",
        topics=topology.SERVICES["market_data"].outputs,
        clock_partitions={topology.FEED_SHARD: logs},
        partitions=PARTITIONS,
        prefix=section.topic_prefix,
        delivered=delivered,
    ).build_part("kafka", topology.FEED_SHARD, None)

    def open_feed(state: dict[str, Any] | None) -> LiveFeed:
        reader = feed_topic_reader(section)
        feed = LiveFeed(settings, [provider], reader, now_ns=lambda: now_ns, delivered_offsets=lambda: delivered)
        return feed.resume(state)

    feed = open_feed(None)
    sink.write_batch([feed.take(10)])
    sink.snapshot()
    state = feed.state()
    assert state["offsets"] == dict.fromkeys(logs, 1)
    first, second = (Clock(now_ns + number * SECOND_NS // 4, "market_data@1") for number in (1, 2))
    write(section, {("market-bars", 0): [first], ("commands", 0): [first, second]})
    now_ns += 2 * SECOND_NS
    sink.write_batch([open_feed(state).take(10)])
    sink.snapshot()
    clocks = {log: clocks_of(section, log) for log in logs}
    assert {first.ts_ns, second.ts_ns} < set(clocks["commands", 0])
    assert clocks == dict.fromkeys(logs, clocks["commands", 0])
