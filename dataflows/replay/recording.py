"""Read the recorded topics of a platform as time slices: external inputs and derived records.

Both use the reader of the live services (`dataflows/sources/kafka.py`), so duplicates after a restart, late records and
the position of commands between clocks are treated exactly as in the live run. Reading commits no offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from configs.settings import KafkaSection
from dataflows.runtime import topology
from dataflows.runtime.handler_timeouts import recorded_timeouts, slices_with_timeouts
from dataflows.sources.kafka import KafkaSliceSource
from dataflows.sources.shared_consumer import ReplayEnd
from operators.alignment import VERSION, AlignmentCounts
from operators.log_cursor import LogInput
from operators.stage import TimeSlice
from schemas.codec import SCHEMA_IDS
from schemas.errors import Unavailable
from schemas.records import TOPIC_OF, Clock, Command, Trade
from sinks.cluster import client_config
from sinks.log_offsets import log_range, offsets_at_times

INPUT_TOPICS = topology.SERVICES["market_data"].outputs
"""Topics of external inputs, from which a replay starts."""
TRADES_TOPIC = TOPIC_OF[Trade]
CLOCK_DISTANCE_MAX = 10_000
"""More messages than a log ever holds between two clocks."""
_CLOCK_HEADER = b"\0" + SCHEMA_IDS[Clock].to_bytes(4, "big")
DERIVED_TOPICS = (
    "features",
    "predictions",
    "sentiment",
    "llm-requests",
    "signals",
    "strategy-suspensions",
    "executions",
    "order-intents",
    "strategy-actions",
    "positions",
    "valuations",
    "order-proposals",
    "orders",
    "order-refusals",
    "risk-events",
    "weights",
    "attribution",
)
"""Topics that the stages write, in processing order within a time slice."""

OnCounts = Callable[[AlignmentCounts], None]
"""Receives the reader's counts."""


class Recording(NamedTuple):
    """Two streams of time slices over the same period, each with the records of its topics."""

    inputs: Iterator[TimeSlice]
    derived: Iterator[TimeSlice]

    def close(self) -> None:
        """Close the consumers, for a caller that does not read to the end."""
        for stream in self:
            if isinstance(stream, Generator):
                stream.close()


def open_recording(kafka: KafkaSection, group_id: str, until: ReplayEnd | None = None) -> Recording:
    """Open the current content of the topics. `group_id` names the consumer group; its offsets are never committed.

    The inputs of a time slice begin with the recorded timeouts of handlers. They are read after the derived records,
    so that none is missing whose suspension is among these.

    Iteration raises Unavailable if Kafka does not respond, or if neither the topics nor the archive hold the first
    messages.
    """
    until = until or ReplayEnd(end_of_logs=True)
    return Recording(
        slices_with_timeouts(_read_inputs(kafka, group_id, until), lambda: recorded_timeouts(kafka)),
        _read_slices(kafka, group_id, DERIVED_TOPICS, until),
    )


def _read_inputs(kafka: KafkaSection, group_id: str, until: ReplayEnd) -> Generator[TimeSlice]:
    yield from _read_slices(kafka, group_id, input_topics(with_trades=has_clock(kafka, TRADES_TOPIC)), until)


def has_clock(kafka: KafkaSection, topic: str) -> bool:
    """Whether the end of a topic's partition 0 holds a clock. Raises Unavailable."""
    consumer = Consumer(client_config(kafka.cluster, {"group.id": "clock", "log_level": 0}))
    name = kafka.topic_prefix + topic
    try:
        low, high = log_range(consumer, name, 0, timeout_s=10)
        offset = max(low, high - CLOCK_DISTANCE_MAX)
        consumer.assign([TopicPartition(name, 0, offset)])
        while offset < high:
            messages = consumer.consume(min(1000, high - offset), timeout=10)
            if not messages:
                raise Unavailable(f"topic {name}: no messages received within 10 s")
            if any((message.value() or b"").startswith(_CLOCK_HEADER) for message in messages):
                return True
            offset = (messages[-1].offset() or 0) + 1
        return False
    except KafkaException as error:
        raise Unavailable(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def read_topics(
    kafka: KafkaSection,
    group_id: str,
    topics: Sequence[str],
    *,
    until: ReplayEnd | None = None,
    since_ns: int | None = None,
    on_counts: OnCounts = lambda _: None,
) -> Generator[TimeSlice]:
    """Read some topics to their current end or to `until`.

    Reading starts at the beginning, or at the first message written at or after `since_ns` (wall clock). At the end
    `on_counts` receives the reader's counts. Iteration raises Unavailable.
    """
    return _read_slices(kafka, group_id, topics, until or ReplayEnd(end_of_logs=True), since_ns, on_counts)


def read_slices_after(
    kafka: KafkaSection, group_id: str, topics: Sequence[str], slice_ns: int, offsets: Mapping[tuple[str, int], int]
) -> Generator[TimeSlice]:
    """Read some topics of the services after the time slice `slice_ns`, to their current end.

    `offsets` are after the clock of this time slice in each log. Records of this or an earlier time slice are
    duplicates, which a process wrote again after a crash. Iteration raises Unavailable.
    """
    position = position_behind(slice_ns, offsets)
    time_slices = _read_slices(kafka, group_id, topics, ReplayEnd(end_of_logs=True), resume_state=position)
    with closing(time_slices):
        yield from without_repeats(time_slices, slice_ns)


def position_behind(slice_ns: int, offsets: Mapping[tuple[str, int], int]) -> Any:
    """Return the snapshot of a reader that continues after a time slice, given an offset after it in each log."""
    return (VERSION, slice_ns, {f"{topic}/{n}": (offset, slice_ns, {}) for (topic, n), offset in offsets.items()})


def without_repeats(time_slices: Iterable[TimeSlice], slice_ns: int) -> Iterator[TimeSlice]:
    """Yield time slices without records of the time slice `slice_ns` or an earlier one."""
    for time_slice in time_slices:
        yield TimeSlice(time_slice.ts_ns, [one for one in time_slice.records if one.ts_ns > slice_ns])


def end_offsets(kafka: KafkaSection, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """Return the end offset of each log, for `ReplayEnd`. Raises Unavailable."""
    consumer = Consumer(client_config(kafka.cluster, {"group.id": "ends", "log_level": 0}))
    logs = [
        (topic, partition) for topic in topics for partition in topology.partitions_of(topic, kafka.symbol_partitions)
    ]
    try:
        offsets = {}
        for topic, partition in logs:
            offsets[topic, partition] = log_range(consumer, kafka.topic_prefix + topic, partition, timeout_s=10)[1]
        return offsets
    except KafkaException as error:
        raise Unavailable(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _snapshot_since(kafka: KafkaSection, logs: Sequence[LogInput], since_ns: int) -> Any:
    """Return a reader snapshot positioned at the first message of each log written at or after `since_ns`.

    Commands cannot be read from the middle of their log: it records the keys that verify them.
    """
    assert all(log.topic != TOPIC_OF[Command] for log in logs), "commands are verified from the start of their log"
    consumer = Consumer(client_config(kafka.cluster, {"group.id": "since", "log_level": 0}))
    requested = [TopicPartition(kafka.topic_prefix + log.topic, log.partition, since_ns // 1_000_000) for log in logs]
    try:
        positions = offsets_at_times(consumer, requested, timeout_s=10)
        starts: dict[str, Any] = {}
        for log, position in zip(logs, positions, strict=True):
            first, end = log_range(consumer, position.topic, position.partition, timeout_s=10)
            offset = end if position.offset < 0 else position.offset
            if offset == first > 0 and kafka.archive is not None:
                archived = kafka.archive.start_at(log.topic, log.partition, since_ns // 1_000_000)
                offset = first if archived is None else min(first, archived)
            starts[f"{log.topic}/{log.partition}"] = (offset, -1, {})
        return (VERSION, -1, starts)
    finally:
        consumer.close()


def input_topics(*, with_trades: bool) -> list[str]:
    """Return the topics of external inputs: commands before bars, as in every stage that reads both.

    Leave out the trades of a recording from an earlier release: they have no clock, so no time slice would be complete,
    and no strategy has read them.
    """
    topics = sorted(INPUT_TOPICS, key=lambda topic: topic in topology.SYMBOL_TOPICS)
    return [topic for topic in topics if with_trades or topic != TRADES_TOPIC]


def ranked_logs(topics: Sequence[str], symbol_partitions: int) -> list[LogInput]:
    """Return the logs of these topics. A time slice has the records of the topics in this order."""
    return [
        LogInput(topic, partition, rank)
        for rank, topic in enumerate(topics)
        for partition in topology.partitions_of(topic, symbol_partitions)
    ]


def _read_slices(
    kafka: KafkaSection,
    group_id: str,
    topics: Sequence[str],
    until: ReplayEnd,
    since_ns: int | None = None,
    on_counts: OnCounts = lambda _: None,
    resume_state: Any = None,
) -> Generator[TimeSlice]:
    logs = ranked_logs(topics, kafka.symbol_partitions)
    source = KafkaSliceSource(
        kafka.cluster,
        group_id,
        {topology.GLOBAL_SHARD: logs},
        prefix=kafka.topic_prefix,
        until=until,
        archive=kafka.archive,
        wait_s=0.05,
    )
    try:
        if since_ns is not None:
            resume_state = _snapshot_since(kafka, logs, since_ns)
        with closing(source.build_part("replay", topology.GLOBAL_SHARD, resume_state)) as partition_reader:
            while True:
                try:
                    batch = partition_reader.next_batch()
                except StopIteration:
                    on_counts(partition_reader.counts)
                    return
                for _, time_slices in batch:
                    yield from time_slices
    except KafkaException as error:
        raise Unavailable(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from error
