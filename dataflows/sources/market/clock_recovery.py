"""Recover the feed's position from its own topics: after a crash they may be ahead of the last snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from configs.settings import KafkaSection
from schemas.codec import DEFAULT_CODEC
from schemas.errors import Unavailable, Undecodable
from schemas.records import Bar, Clock, HistoryBar, Quote, Trade
from sinks.cluster import client_config
from sinks.log_offsets import log_range, offsets_at_times

FEED_TOPICS = ("market-bars", "market-quotes", "market-trades", "history-bars")
READ_TIMEOUT_S = 60.0
TIMESTAMP_MARGIN_NS = 30_000_000_000
"""Message timestamps come from the producer's clock; reading starts this much before the snapshot."""


@dataclass
class FeedTopicState:
    """`clocks` by partition of market-bars; the last bar, and the `seq` of quotes, trades and history bars,
    by symbol.
    """

    clocks: dict[int, int] = field(default_factory=dict)
    bars: dict[str, Bar] = field(default_factory=dict)
    quotes: dict[str, int] = field(default_factory=dict)
    trades: dict[str, int] = field(default_factory=dict)
    history: dict[str, int] = field(default_factory=dict)

    @property
    def clock_ns(self) -> int:
        """The clock that every partition has reached; later time slices are incomplete or missing."""
        return min(self.clocks.values(), default=-1)

    def merge_into(self, completion_snapshot: dict[str, Any]) -> dict[str, Any]:
        """Return a snapshot of minute completion, updated to the topics."""
        symbols = dict(completion_snapshot["symbols"])
        for symbol, bar in self.bars.items():
            if bar.seq >= symbols.get(symbol, (0, 0.0))[0]:
                symbols[symbol] = (bar.seq, bar.close)
        return {**completion_snapshot, "symbols": symbols}

    def add(self, partition: int, record: Any) -> None:
        if type(record) is Clock:
            self.clocks[partition] = max(record.ts_ns, self.clocks.get(partition, -1))
        elif type(record) is Bar:
            self.bars[record.symbol] = record
        elif type(record) is Quote:
            self.quotes[record.symbol] = max(record.seq, self.quotes.get(record.symbol, 0))
        elif type(record) is Trade:
            self.trades[record.symbol] = max(record.seq, self.trades.get(record.symbol, 0))
        elif type(record) is HistoryBar:
            self.history[record.symbol] = max(record.seq, self.history.get(record.symbol, 0))


def feed_topic_reader(kafka: KafkaSection) -> Callable[[int | None], FeedTopicState]:
    """Return a function that reads the state from a wall-clock time or from the beginning. Raises Unavailable."""

    def read(since_ns: int | None) -> FeedTopicState:
        consumer = Consumer(
            client_config(kafka.cluster, {"group.id": "none", "enable.auto.commit": False, "log_level": 0})
        )
        with closing(consumer):
            try:
                return _read_feed_topics(consumer, kafka, since_ns)
            except KafkaException as error:
                raise Unavailable(f"topics of the feed: {error.args[0].str()}") from error

    return read


def _read_feed_topics(consumer: Consumer, kafka: KafkaSection, since_ns: int | None) -> FeedTopicState:
    state = FeedTopicState(dict.fromkeys(range(kafka.symbol_partitions), -1))
    starts, ends = [], {}
    for topic in FEED_TOPICS:
        for partition in range(kafka.symbol_partitions):
            name = kafka.topic_prefix + topic
            low, high = log_range(consumer, name, partition, timeout_s=READ_TIMEOUT_S)
            start = low
            if since_ns is not None:
                requested = TopicPartition(name, partition, max(0, (since_ns - TIMESTAMP_MARGIN_NS) // 1_000_000))
                offset = offsets_at_times(consumer, [requested], timeout_s=READ_TIMEOUT_S)[0].offset
                # No message since then: the snapshot covers everything in this partition.
                start = max(low, offset) if offset >= 0 else high
            if start < high:
                starts.append(TopicPartition(name, partition, start))
                ends[name, partition] = high
            elif since_ns is not None and topic == "market-bars":
                state.clocks.pop(partition, None)
    consumer.assign(starts)
    deadline = time.monotonic() + READ_TIMEOUT_S
    while ends:
        if time.monotonic() > deadline:
            raise Unavailable(f"topics of the feed: the end was not reached within {READ_TIMEOUT_S:.0f} s")
        for message in consumer.consume(1000, 0.5):
            if message.error() is not None:
                raise KafkaException(message.error())
            topic, partition = message.topic() or "", message.partition() or 0
            try:
                record = DEFAULT_CODEC.decode(message.value())
            except Undecodable:
                record = None  # the consumer of the topic creates the dead letter
            if type(record) is not Clock or topic == kafka.topic_prefix + "market-bars":
                state.add(partition, record)
            if (message.offset() or 0) + 1 >= ends.get((topic, partition), 0):
                ends.pop((topic, partition), None)
    return state
