"""The Kafka source and sink on a real broker: the source returns the time slices of the sink, each exactly once."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import input as op_input
from bytewax.operators import output as op_output
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from dataflows.runtime import topology
from dataflows.sources.kafka import KafkaSliceSource, ShardSlices
from dataflows.sources.shared_consumer import ReplayEnd
from deploy.chaos.proxy import Proxy
from deploy.local.ports import free_ports
from deploy.supervisor.topics import TopicSpec, create_topics
from operators.alignment import AlignedLogs
from operators.dead_letter_rate import RateLimits
from operators.log_cursor import LogInput
from operators.partitions import partition_of
from operators.stage import TimeSlice
from schemas.codec import decode, encode
from schemas.errors import TooManyDeadLetters, Unavailable
from schemas.records import Bar, Clock, DeadLetter, LateRecord, has_symbol
from sinks.kafka import KafkaSliceSink, producer
from tests.builders import bar
from tests.replay.memory_connectors import MemorySink

PARTITIONS, SYMBOLS, TAPE_SLICES = 3, 7, 60

CLOCK_LOGS = [*[("market-bars", p) for p in range(PARTITIONS)], ("commands", 0)]


def make_tape(slice_count: int = TAPE_SLICES) -> list[TimeSlice]:
    """Bars of every symbol in most minutes, sorted by symbol."""
    rng, seqs, out = random.Random(4), dict.fromkeys((f"S{i}" for i in range(SYMBOLS)), 0), []
    for t in range(1, slice_count + 1):
        bars = []
        for symbol in seqs:
            if rng.random() < 0.9:
                seqs[symbol] += 1
                bars.append(bar(symbol, seqs[symbol], t * 60, 100 + rng.random()))
        out.append(TimeSlice(t * 60, bars))
    return out


class FailingTapeSource(FixedPartitionedSource[ShardSlices, int]):
    """Reads time slices from memory in batches of `batch_size`. `fail_at` aborts the worker before that time slice."""

    def __init__(self, time_slices: list[TimeSlice], batch_size: int = 7, fail_at: int | None = None) -> None:
        self.time_slices, self.batch_size, self.fail_at = time_slices, batch_size, fail_at

    def list_parts(self) -> list[str]:
        return [topology.FEED_SHARD]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Any:
        source, start = self, resume_state or 0

        class Partition(StatefulSourcePartition[ShardSlices, int]):
            position = start

            def next_batch(self) -> list[ShardSlices]:
                if source.fail_at is not None and self.position >= source.fail_at:
                    raise AbortExecution
                if self.position >= len(source.time_slices):
                    raise StopIteration
                time_slices = source.time_slices[self.position : self.position + source.batch_size]
                self.position += len(time_slices)
                return [(topology.FEED_SHARD, time_slices)]

            def snapshot(self) -> int:
                return self.position

        return Partition()


@pytest.fixture
def prefix(kafka: str) -> str:
    """The prefix of new topics for one test."""
    topic_prefix = f"t{uuid.uuid4().hex[:8]}-"
    create_topics(kafka, [TopicSpec(f"{topic_prefix}market-bars", PARTITIONS), TopicSpec(f"{topic_prefix}commands", 1)])
    return topic_prefix


def bars_sink(kafka: str, prefix: str) -> KafkaSliceSink:
    return KafkaSliceSink(
        kafka,
        writer="market_data@test",
        topics=["market-bars"],
        clock_partitions={topology.FEED_SHARD: CLOCK_LOGS},
        partitions=PARTITIONS,
        prefix=prefix,
    )


def write(kafka: str, prefix: str, source: FailingTapeSource, recovery: RecoveryConfig | None = None) -> None:
    flow = Dataflow("market_data")
    op_output("kafka", op_input("ticks", flow, source), bars_sink(kafka, prefix))
    run_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)


def bars_logs() -> list[LogInput]:
    return [LogInput("market-bars", p, 0) for p in range(PARTITIONS)]


def read(
    kafka: str, prefix: str, until: ReplayEnd | None = None, workers: int = 1, by_shard: bool = False
) -> MemorySink:
    logs = {str(p): [LogInput("market-bars", p, 0)] for p in range(PARTITIONS)} if by_shard else {"books": bars_logs()}
    until = until or ReplayEnd(end_of_logs=True)
    source = KafkaSliceSource(kafka, "features", logs, prefix=prefix, until=until)
    sink = MemorySink(list(logs))
    flow = Dataflow("reading")
    op_output("out", op_input("ticks", flow, source), sink)
    if workers == 1:
        run_main(flow)
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)
    return sink


def written_messages(partition: int) -> list[tuple[int, Any]]:
    """The messages that `write` puts into one partition of market-bars, with their offsets."""
    messages: list[Any] = []
    for time_slice in make_tape():
        messages += [b for b in time_slice.records if has_symbol(b) and partition_of(b.symbol, PARTITIONS) == partition]
        messages.append(Clock(time_slice.ts_ns, ""))
    return list(enumerate(messages))


def produce(kafka: str, prefix: str, partition: int, *values: bytes) -> None:
    sender = producer(kafka)
    for value in values:
        sender.produce(f"{prefix}market-bars", value, partition=partition)
    assert sender.flush(20) == 0


def test_time_slices_are_read_as_they_were_written(kafka: str, prefix: str) -> None:
    write(kafka, prefix, FailingTapeSource(make_tape()))
    assert read(kafka, prefix).time_slices["books"] == make_tape()


@pytest.mark.parametrize("workers", [1, 2])
def test_each_shard_reads_its_own_symbols_and_every_time_slice(kafka: str, prefix: str, workers: int) -> None:
    write(kafka, prefix, FailingTapeSource(make_tape()))
    shards = read(kafka, prefix, by_shard=True, workers=workers).time_slices
    for shard in range(PARTITIONS):
        expected = [
            TimeSlice(t, [b for b in records if has_symbol(b) and partition_of(b.symbol, PARTITIONS) == shard])
            for t, records in make_tape()
        ]
        assert shards[str(shard)] == expected


def test_a_log_read_by_all_shards_resumes_at_the_position_of_each(kafka: str, prefix: str) -> None:
    """Simulates a restart: one shard was ahead of the other when their states were saved."""
    write(kafka, prefix, FailingTapeSource(make_tape()))
    logs = {str(p): [LogInput("market-bars", p, 0), LogInput("commands", 0, 1)] for p in range(PARTITIONS)}
    source = KafkaSliceSource(kafka, "signals", logs, prefix=prefix, until=ReplayEnd(end_of_logs=True))
    until_ns = make_tape()[2].ts_ns
    shard_messages = [message for message in written_messages(0) if message[1].ts_ns <= until_ns]
    reader_ahead = AlignedLogs("signals", logs["0"])
    reader_ahead.feed("market-bars", 0, shard_messages)
    reader_ahead.feed(
        "commands", 0, [(offset, Clock(time_slice.ts_ns, "")) for offset, time_slice in enumerate(make_tape()[:3])]
    )
    reader_ahead.take_slices()
    snapshot = reader_ahead.snapshot()
    parts = {shard: source.build_part("ticks", shard, snapshot if shard == "0" else None) for shard in logs}
    ts_by_shard: dict[str, list[int]] = {shard: [] for shard in parts}
    for _ in range(200):
        for shard, part in list(parts.items()):
            try:
                ts_by_shard[shard] += [time_slice.ts_ns for _, ticks in part.next_batch() for time_slice in ticks]
            except StopIteration:
                part.close()
                del parts[shard]
    all_ts = [time_slice.ts_ns for time_slice in make_tape()]
    assert not parts
    assert ts_by_shard.pop("0") == all_ts[3:]
    assert all(ticks == all_ts for ticks in ts_by_shard.values())


def test_a_writer_that_crashes_and_restarts_leaves_the_same_time_slices(kafka: str, prefix: str, tmp_path: Any) -> None:
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(str(tmp_path))
    for fail_at in (11, 23, 40):
        write(kafka, prefix, FailingTapeSource(make_tape(), fail_at=fail_at), recovery)
    write(kafka, prefix, FailingTapeSource(make_tape()), recovery)
    assert read(kafka, prefix).time_slices["books"] == make_tape()


def test_a_malformed_message_becomes_a_dead_letter_and_the_rest_is_read(kafka: str, prefix: str) -> None:
    valid = make_tape(2)
    write(kafka, prefix, FailingTapeSource(valid[:1]))
    late_bar = bar("S0", 99, 60)
    invalid_bar = bar("S0", 98, 120)._replace(high=1.0)
    produce(kafka, prefix, 0, b"not avro", b"\0\0\0\x03\xe7abc", encode(late_bar), encode(invalid_bar))
    write(kafka, prefix, FailingTapeSource(valid[1:]))
    first, second = read(kafka, prefix).time_slices["books"]
    assert first == valid[0]
    letters = [record for record in second.records if isinstance(record, DeadLetter)]
    assert [record for record in second.records if isinstance(record, Bar)] == valid[1].records
    assert [(letter.reason.split(",")[0], letter.schema_id, letter.stage) for letter in letters] == [
        ("expected a zero byte and a 4-byte schema id", None, "features"),
        ("unknown schema id 999", 999, "features"),
        ("field high must be >= low 100.0", None, "features"),
    ]
    assert letters[0].raw == b"not avro"
    assert len({(letter.topic, letter.partition, letter.offset) for letter in letters}) == 3
    [late_record] = [record for record in second.records if isinstance(record, LateRecord)]
    assert (late_record.ts_ns, late_record.record_ts_ns, decode(late_record.raw)) == (60, 60, late_bar)


def test_too_many_dead_letters_suspend_the_flow_until_it_is_released(kafka: str, prefix: str, tmp_path: Any) -> None:
    time_slices = make_tape(6)
    write(kafka, prefix, FailingTapeSource(time_slices[:3]))
    produce(kafka, prefix, 0, *[b"not avro"] * 6)
    write(kafka, prefix, FailingTapeSource(time_slices[3:]))
    logs = {"books": [LogInput("market-bars", p, 0) for p in range(PARTITIONS)]}
    suspensions: list[tuple[int, str]] = []

    def run(released_ns: int) -> list[TimeSlice]:
        limits = RateLimits(per_minute=5)
        source = KafkaSliceSource(
            kafka,
            "features",
            logs,
            prefix=prefix,
            until=ReplayEnd(end_of_logs=True),
            records_max=1,
            limits=limits,
            read_released_ns=lambda: released_ns,
            on_suspend=lambda at_ns, reason: suspensions.append((at_ns, reason)),
        )
        out: list[TimeSlice] = []
        part = source.build_part("ticks", "books", None)
        try:
            while True:
                out += [time_slice for _, batch in part.next_batch() for time_slice in batch]
        except StopIteration:
            return out
        except TooManyDeadLetters:
            return out
        finally:
            part.close()

    assert run(-1) == time_slices[:3]
    [(at_ns, reason)] = suspensions
    assert at_ns == 240 and reason.startswith(
        "6 dead letters within a minute, limit 5; last rejected record market-bars/0@"
    )
    assert run(-1) == time_slices[:3] and len(suspensions) == 2, "it comes to the same tick again"
    assert [time_slice.ts_ns for time_slice in run(at_ns)] == [time_slice.ts_ns for time_slice in time_slices]


def test_a_snapshot_after_the_consumer_is_closed_holds_the_positions(kafka: str, prefix: str) -> None:
    """At a stop on a busy machine, the engine takes a snapshot of one shard after another has closed their consumer."""
    write(kafka, prefix, FailingTapeSource(make_tape(3)))
    logs = {"books": [LogInput("market-bars", p, 0) for p in range(PARTITIONS)]}
    until = ReplayEnd(end_of_logs=True)
    part = KafkaSliceSource(kafka, "features", logs, prefix=prefix, until=until).build_part("ticks", "books", None)
    out: list[TimeSlice] = []
    while len(out) < 3:
        out += [time_slice for _, batch in part.next_batch() for time_slice in batch]
    part._consumer.close()
    resumed = KafkaSliceSource(kafka, "features", logs, prefix=prefix, until=until)
    part = resumed.build_part("ticks", "books", part.snapshot())
    with pytest.raises(StopIteration):
        while True:
            assert part.next_batch() == []
    part.close()


def test_a_replay_ends_at_a_time(kafka: str, prefix: str) -> None:
    write(kafka, prefix, FailingTapeSource(make_tape()))
    assert read(kafka, prefix, ReplayEnd(ts_ns=20 * 60)).time_slices["books"] == make_tape()[:20]


def test_a_replay_ends_at_an_offset(kafka: str, prefix: str) -> None:
    write(kafka, prefix, FailingTapeSource(make_tape()))
    bar_counts = [
        sum(partition_of(bar.symbol, PARTITIONS) == 1 for bar in time_slice.records if isinstance(bar, Bar))
        for time_slice in make_tape()
    ]
    offset_after_slice_20 = sum(bar_counts[:20]) + 20  # the bars and clocks of these time slices in partition 1
    until = ReplayEnd(offsets={("market-bars", 1): offset_after_slice_20})
    assert read(kafka, prefix, until).time_slices["books"] == make_tape()[:20]
    until = ReplayEnd(offsets={("market-bars", 1): offset_after_slice_20 - 1})
    assert read(kafka, prefix, until).time_slices["books"] == make_tape()[:19]


def test_a_position_deleted_from_the_log_is_an_error(kafka: str, prefix: str) -> None:
    write(kafka, prefix, FailingTapeSource(make_tape()))
    cut_offset = TopicPartition(f"{prefix}market-bars", 0, 50)
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([cut_offset]).values():
        future.result(20)
    with pytest.raises(Exception) as error:
        read(kafka, prefix)
    causes = [error.value, error.value.__cause__]
    assert any(isinstance(cause, Unavailable) and "no longer in the log" in str(cause) for cause in causes)


def test_the_clock_names_its_writer_and_is_in_every_partition(kafka: str, prefix: str) -> None:
    write(kafka, prefix, FailingTapeSource(make_tape(3)))
    clocks = [Clock(t * 60, "market_data@test") for t in (1, 2, 3)]
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "look"})
    for topic, partition in CLOCK_LOGS:
        consumer.assign([TopicPartition(prefix + topic, partition, 0)])
        end = consumer.get_watermark_offsets(TopicPartition(prefix + topic, partition), timeout=60)[1]
        messages: list[Any] = []
        while len(messages) < end:
            messages += consumer.consume(end - len(messages), 5)
        assert [r for r in (decode(m.value()) for m in messages) if isinstance(r, Clock)] == clocks
    consumer.close()


def test_an_outage_longer_than_the_delivery_timeout_leaves_no_gap_in_a_log(
    kafka: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker is back when the first time slice is older than the timeout, and the second one is not.

    Readers would discard the records of the first one if they came after the second one, because their `seq` is lower.
    """
    monkeypatch.setattr("sinks.kafka.wait_for_producer_ids", lambda servers: None)
    monkeypatch.setattr("sinks.kafka.DELIVERY_TIMEOUT_S", 5.0)
    [port] = free_ports(1)
    sink = bars_sink(f"127.0.0.1:{port}", prefix).build_part("kafka", topology.FEED_SHARD, None)
    monkeypatch.setattr("sinks.kafka.DELIVERY_TIMEOUT_S", 120.0)
    time_slices = make_tape(2)
    sink.write_batch([time_slices[:1]])
    time.sleep(8)
    sink.write_batch([time_slices[1:]])
    with Proxy(port, int(kafka.rpartition(":")[2])):
        for _ in range(10):  # a failed record is reported at once, while later ones are still being delivered
            with contextlib.suppress(Unavailable):
                sink.snapshot()
    assert read(kafka, prefix).time_slices["books"] == time_slices
