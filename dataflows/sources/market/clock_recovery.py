"""Recover the feed's position from its own topics: after a crash they may be ahead of the last snapshot.

A feed that is killed may have written a clock to some of its logs and not to others. Services that read different logs
would then process different time slices. The next process therefore writes each such clock again, with the same time,
to all logs. Readers discard a clock that their log already has (`operators/alignment.py`).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from configs.settings import KafkaSection
from dataflows.runtime import topology
from dataflows.runtime.topology import SYMBOL_TOPICS
from operators.partitions import partition_of
from schemas.codec import DEFAULT_CODEC
from schemas.errors import Unavailable, Undecodable
from schemas.records import Bar, Clock, HistoryBar, Quote, Trade
from sinks.cluster import client_config
from sinks.log_offsets import log_range, offsets_at_times

UNCLOCKED_TOPICS = topology.SERVICES["market_data"].unclocked
READ_TIMEOUT_S = 60.0
TIMESTAMP_MARGIN_NS = 30_000_000_000
"""Message timestamps come from the producer's clock; reading starts this much before the snapshot."""
TAIL_MESSAGES_MAX = 100_000
"""Most messages read from the end of a log in which the feed writes only clocks. Those of the last two minutes, the
timeout of a delivery, are far fewer."""
RECENT_CLOCKS_MAX = 100_000

Log = tuple[str, int]
"""(topic, partition)."""


def clocked_logs(partitions: int) -> list[Log]:
    """Return the logs into which the feed writes its clock."""
    return topology.clocked_logs("market_data", topology.FEED_SHARD, partitions)


@dataclass
class FeedTopicState:
    """What the feed's topics hold since a snapshot, or from their beginning.

    clocks   the last clock of each log of `logs`, into which the feed writes the clock
    recent   the clocks of all these logs, of which the newest are stored
    bars     the last bar by symbol
    quotes, trades, history  the last `seq` of quotes, trades and history bars by symbol
    """

    logs: tuple[Log, ...] = ()
    clocks: dict[Log, int] = field(default_factory=dict)
    recent: set[int] = field(default_factory=set)
    bars: dict[str, Bar] = field(default_factory=dict)
    quotes: dict[str, int] = field(default_factory=dict)
    trades: dict[str, int] = field(default_factory=dict)
    history: dict[str, int] = field(default_factory=dict)

    def common_clock_ns(self, snapshot_clock_ns: int, topic: str | None = None) -> int:
        """Return the last clock that every log has, or every log of one topic.

        Every log has the clock of the snapshot, because the sinks confirm their records before a snapshot.
        """
        clocks = (self.clocks.get(log, -1) for log in self.logs if topic in (None, log[0]))
        return max(snapshot_clock_ns, min(clocks, default=-1))

    def missing_clocks(self, snapshot_clock_ns: int) -> list[int]:
        """Return the clocks that some logs have and others may lack, in order. A log lacks only its newest clocks."""
        common_ns = self.common_clock_ns(snapshot_clock_ns)
        return sorted(clock_ns for clock_ns in self.recent if clock_ns > common_ns)

    def bars_complete_to_ns(self, symbols: Collection[str]) -> dict[str, int]:
        """Return, for each symbol, the time up to which the log has its bars: that of its last bar or of the clock."""
        partitions = sum(topic == "market-bars" for topic, _ in self.logs)
        times = {symbol: bar.ts_ns for symbol, bar in self.bars.items()}
        for symbol in symbols if partitions else ():
            clock_ns = self.clocks.get(("market-bars", partition_of(symbol, partitions)), -1)
            times[symbol] = max(clock_ns, times.get(symbol, -1))
        return times

    def merge_into(self, completion_snapshot: dict[str, Any]) -> dict[str, Any]:
        """Return a snapshot of minute completion, updated to the topics."""
        symbols = dict(completion_snapshot["symbols"])
        for symbol, bar in self.bars.items():
            if bar.seq >= symbols.get(symbol, (0, 0.0))[0]:
                symbols[symbol] = (bar.seq, bar.close)
        return {**completion_snapshot, "symbols": symbols}

    def add(self, log: Log, record: Any) -> None:
        if type(record) is Clock:
            self.clocks[log] = max(record.ts_ns, self.clocks.get(log, -1))
            self.recent.add(record.ts_ns)
            if len(self.recent) >= 2 * RECENT_CLOCKS_MAX:
                self.recent = set(heapq.nlargest(RECENT_CLOCKS_MAX, self.recent))
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
    partitions, prefix = kafka.symbol_partitions, kafka.topic_prefix
    state = FeedTopicState(tuple(clocked_logs(partitions)))
    unclocked = [(topic, p) for topic in UNCLOCKED_TOPICS for p in topology.partitions_of(topic, partitions)]
    starts, ends = [], {}
    for log in (*state.logs, *unclocked):
        name, partition = prefix + log[0], log[1]
        low, high = log_range(consumer, name, partition, timeout_s=READ_TIMEOUT_S)
        start = low if log[0] in SYMBOL_TOPICS else max(low, high - TAIL_MESSAGES_MAX)
        if since_ns is not None:
            requested = TopicPartition(name, partition, max(0, (since_ns - TIMESTAMP_MARGIN_NS) // 1_000_000))
            offset = offsets_at_times(consumer, [requested], timeout_s=READ_TIMEOUT_S)[0].offset
            # No message since then: the snapshot covers everything in this partition.
            start = max(start, offset) if offset >= 0 else high
        if start < high:
            starts.append(TopicPartition(name, partition, start))
            ends[name, partition] = high
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
            log = (topic.removeprefix(prefix), partition)
            # Edge services and people write records to the other topics.
            is_own = record.writer.startswith("market_data@") if type(record) is Clock else log[0] in SYMBOL_TOPICS
            if is_own:
                state.add(log, record)
            if (message.offset() or 0) + 1 >= ends.get((topic, partition), 0):
                ends.pop((topic, partition), None)
    return state
