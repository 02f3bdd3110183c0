"""Recover the feed's position from its own topics: after a crash they may be ahead of the last snapshot.

A feed that is killed may have written a clock to some of its logs and not to others. Services that read different logs
would then process different time slices. The next process therefore writes each such clock again, with the same time,
to all logs. Readers discard a clock that their log already has (`operators/alignment.py`).

It may also have written records to a topic and not to their table, for example while PostgreSQL was down. The feed does
not publish them again, so they are stored from the topic.

The snapshot contains an offset in each log, and only the messages after it are read. The cost of a restart therefore
does not depend on the length of the logs.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
from schemas.log_names import LogName
from schemas.records import Bar, Clock, HistoryBar, Quote, Record, Trade
from sinks.archive.container_file import ArchivedMessage
from sinks.cluster import client_config
from sinks.log_offsets import log_range, offsets_at_times

UNCLOCKED_TOPICS = topology.SERVICES["market_data"].unclocked
OWN_TOPICS = frozenset(topology.own_topics("market_data"))
READ_TIMEOUT_S = 60.0
"""How long the reader waits for the next message before it gives up."""
TIMESTAMP_MARGIN_NS = 30_000_000_000
"""Message timestamps come from the producer's clock; reading starts this much before the time of an old snapshot."""
TAIL_MESSAGES_MAX = 100_000
"""Most messages read from the end of a log in which the feed writes only clocks. Those of the last two minutes, the
timeout of a delivery, are far fewer."""
FIRST_MESSAGES_MAX = 500_000
"""Maximum number of messages that a feed reads without a snapshot. Before its first snapshot, a feed writes far fewer,
even with the history bars of 500 symbols."""
RECENT_CLOCKS_MAX = 100_000
STORED_TOGETHER = 5_000
"""Number of records that are stored in one transaction."""

Store = Callable[[Sequence[Record]], None]
"""Stores records in their tables, in which they may already be."""
Since = Mapping[LogName, int] | int | None
"""Where reading starts: an offset for each log, or the time of a snapshot of version 1. None: no snapshot."""


def feed_logs(partitions: int) -> list[LogName]:
    """Return the logs into which the feed writes records or its clock."""
    unclocked = [(topic, p) for topic in UNCLOCKED_TOPICS for p in topology.partitions_of(topic, partitions)]
    return [*clocked_logs(partitions), *unclocked]


def clocked_logs(partitions: int) -> list[LogName]:
    """Return the logs into which the feed writes its clock."""
    return topology.clocked_logs("market_data", topology.FEED_SHARD, partitions)


@dataclass
class FeedTopicState:
    """What the feed's topics hold since a snapshot.

    clocks   the last clock of each log of `logs`, into which the feed writes the clock
    recent   the clocks of all these logs, of which the newest are stored
    bars     the last bar by symbol
    quotes, trades, history  the last `seq` of quotes, trades and history bars by symbol
    starts   the offset from which each log was read
    ends     the offset after the last message of each log
    messages  how many messages were read
    """

    logs: tuple[LogName, ...] = ()
    clocks: dict[LogName, int] = field(default_factory=dict)
    recent: set[int] = field(default_factory=set)
    bars: dict[str, Bar] = field(default_factory=dict)
    quotes: dict[str, int] = field(default_factory=dict)
    trades: dict[str, int] = field(default_factory=dict)
    history: dict[str, int] = field(default_factory=dict)
    starts: dict[LogName, int] = field(default_factory=dict)
    ends: dict[LogName, int] = field(default_factory=dict)
    messages: int = 0

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

    def add(self, log: LogName, record: Any) -> None:
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


def feed_topic_reader(kafka: KafkaSection, store: Store = lambda records: None) -> Callable[[Since], FeedTopicState]:
    """Return a function that reads the state since a snapshot, and stores the records of the feed. Raises Unavailable.

    Without a snapshot, the logs are read from their beginning if they are short: an earlier process may have ended
    before its first snapshot.
    """

    def read(since: Since) -> FeedTopicState:
        with closing(_consumer(kafka)) as consumer:
            try:
                return _read_feed_topics(consumer, kafka, since, store)
            except KafkaException as error:
                raise Unavailable(f"topics of the feed: {error.args[0].str()}") from error

    return read


def read_feed_history(kafka: KafkaSection, until_ns: int) -> FeedTopicState:
    """Read the logs of the feed from their beginning, to rebuild a recovery store. Raises Unavailable.

    `ends` of the result has the offsets after the clock `until_ns`, where the feed continues. A log without that clock
    is read again from its start.
    """
    with closing(_consumer(kafka)) as consumer:
        try:
            ranges = _log_ranges(consumer, kafka)
            state = FeedTopicState(tuple(clocked_logs(kafka.symbol_partitions)))
            state.ends = state.starts = {log: low for log, (low, _) in ranges.items()}
            positions = dict(state.starts)
            for log, low in state.starts.items():
                for message in _archived_messages(kafka, log, low):
                    state.messages += 1
                    record = _own_record(log[0], message.value)
                    if record is not None:
                        state.add(log, record)
            for log, offset, record in _read(consumer, kafka, state.starts, {log: ranges[log][1] for log in ranges}):
                state.messages += 1
                if type(record) is Clock and record.ts_ns <= until_ns:
                    positions[log] = offset + 1
                if record is not None:
                    state.add(log, record)
            state.ends = positions
            return state
        except KafkaException as error:
            raise Unavailable(f"topics of the feed: {error.args[0].str()}") from error


def _archived_messages(kafka: KafkaSection, log: LogName, end: int) -> Iterator[ArchivedMessage]:
    """Yield the messages before the offset `end`, at which the topic starts. Raises Unavailable if they are lost."""
    if not end or log[0] not in SYMBOL_TOPICS:
        return  # a topic from which nothing is deleted
    if kafka.archive is None:
        raise Unavailable(f"topic {log[0]}/{log[1]} starts at offset {end}; set kafka.archive_folder to its archive")
    kafka.archive.require(*log, 0, end)
    yield from kafka.archive.messages(*log, 0, end)


def _consumer(kafka: KafkaSection) -> Consumer:
    options = {"group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "error", "log_level": 0}
    return Consumer(client_config(kafka.cluster, options))


def _log_ranges(consumer: Consumer, kafka: KafkaSection) -> dict[LogName, tuple[int, int]]:
    """Return the first offset of each log and the offset after its last message."""
    return {
        (topic, partition): log_range(consumer, kafka.topic_prefix + topic, partition, timeout_s=READ_TIMEOUT_S)
        for topic, partition in feed_logs(kafka.symbol_partitions)
    }


def _read_feed_topics(consumer: Consumer, kafka: KafkaSection, since: Since, store: Store) -> FeedTopicState:
    ranges = _log_ranges(consumer, kafka)
    state = FeedTopicState(tuple(clocked_logs(kafka.symbol_partitions)))
    state.ends = {log: high for log, (_, high) in ranges.items()}
    if since is None:
        state.starts = _starts_of_new_logs(ranges)
    elif isinstance(since, int):
        state.starts = _starts_at_time(consumer, kafka, ranges, since)
    else:
        state.starts = {log: _start_at_position(log, since.get(log), *limits) for log, limits in ranges.items()}
    published: list[Record] = []
    for log, _, record in _read(consumer, kafka, state.starts, state.ends):
        state.messages += 1
        if record is None:
            continue
        state.add(log, record)
        if type(record) is not Clock:
            published.append(record)
        if len(published) >= STORED_TOGETHER:
            store(published)
            published = []
    store(published)
    return state


def _starts_of_new_logs(ranges: Mapping[LogName, tuple[int, int]]) -> dict[LogName, int]:
    """Return where to read the messages of a process that ended before its first snapshot.

    Raises Unavailable if there are more than `FIRST_MESSAGES_MAX`.
    """
    count = sum(high - low for log, (low, high) in ranges.items() if log[0] in OWN_TOPICS)
    if count > FIRST_MESSAGES_MAX or any(low for log, (low, _) in ranges.items() if log[0] in OWN_TOPICS):
        raise Unavailable(
            f"the recovery store of market_data has no state, but its topics hold {count:,} messages, more than a "
            "process writes before its first snapshot; restore the store with `python cli.py rebuild market_data`"
        )
    return {
        log: low if log[0] in SYMBOL_TOPICS else max(low, high - TAIL_MESSAGES_MAX)
        for log, (low, high) in ranges.items()
    }


def _start_at_position(log: LogName, position: int | None, low: int, high: int) -> int:
    """Return the offset from which to read a log. `position` is None for a topic that is newer than the snapshot."""
    if position is None:
        return low if log[0] in SYMBOL_TOPICS else max(low, high - TAIL_MESSAGES_MAX)
    if position > high or (position < low and log[0] in OWN_TOPICS):
        raise Unavailable(
            f"topic {log[0]}/{log[1]} holds the offsets {low} to {high}, but the recovery store of market_data "
            f"continues at {position}; restore the topic from a backup, or the store with "
            "`python cli.py rebuild market_data`"
        )
    return max(position, low)


def _starts_at_time(
    consumer: Consumer, kafka: KafkaSection, ranges: Mapping[LogName, tuple[int, int]], since_ns: int
) -> dict[LogName, int]:
    at_ms = max(0, (since_ns - TIMESTAMP_MARGIN_NS) // 1_000_000)
    starts: dict[LogName, int] = {}
    for log, (low, high) in ranges.items():
        requested = TopicPartition(kafka.topic_prefix + log[0], log[1], at_ms)
        offset = offsets_at_times(consumer, [requested], timeout_s=READ_TIMEOUT_S)[0].offset
        first = low if log[0] in SYMBOL_TOPICS else max(low, high - TAIL_MESSAGES_MAX)
        # No message since then: the snapshot covers everything in this partition.
        starts[log] = max(first, offset) if offset >= 0 else high
    return starts


def _read(
    consumer: Consumer, kafka: KafkaSection, starts: Mapping[LogName, int], ends: Mapping[LogName, int]
) -> Iterator[tuple[LogName, int, Any]]:
    """Yield the messages between two offsets of each log, with the feed's own records and None for all others."""
    prefix, remaining = kafka.topic_prefix, {log: end for log, end in ends.items() if starts[log] < end}
    consumer.assign([TopicPartition(prefix + topic, p, starts[topic, p]) for topic, p in remaining])
    deadline = time.monotonic() + READ_TIMEOUT_S
    while remaining:
        if time.monotonic() > deadline:
            raise Unavailable(f"topics of the feed: no message received within {READ_TIMEOUT_S:.0f} s")
        for message in consumer.consume(1000, 0.5):
            if message.error() is not None:
                raise KafkaException(message.error())
            deadline = time.monotonic() + READ_TIMEOUT_S
            log = ((message.topic() or "").removeprefix(prefix), message.partition() or 0)
            offset = message.offset() or 0
            if offset < ends[log]:
                yield log, offset, _own_record(log[0], message.value())
            if offset + 1 >= ends[log]:
                remaining.pop(log, None)


def _own_record(topic: str, value: bytes | None) -> Any:
    """Return the record or the clock of a message if the feed wrote it, else None. In topics that are not partitioned
    by symbol, edge services and people also write records.
    """
    try:
        record = DEFAULT_CODEC.decode(value)
    except Undecodable:
        return None  # the consumer of the topic creates the dead letter
    is_own = record.writer.startswith("market_data@") if type(record) is Clock else topic in SYMBOL_TOPICS
    return record if is_own else None
