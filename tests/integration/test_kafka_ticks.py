"""The Kafka source and sink on a real broker: what goes in as ticks comes out as the same ticks, once."""

from __future__ import annotations

import random
import uuid
from datetime import timedelta
from typing import Any

import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import input as op_input
from bytewax.operators import output as op_output
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from dataflows.runtime import topology
from dataflows.sources.kafka import KafkaTicks, ShardTicks, Until
from operators.alignment import AlignedLogs, Log
from operators.dead_letter_rate import RateLimits
from operators.partitions import partition_of
from operators.stage import Tick
from schemas.codec import decode, encode
from schemas.errors import TooManyDeadLetters, Unavailable
from schemas.records import Bar, Clock, DeadLetter, LateRecord
from sinks.kafka import KafkaTickSink, producer
from tests.unit.builders import bar

PARTITIONS, SYMBOLS, TICKS = 3, 7, 60

CLOCKED = [*[("market-bars", p) for p in range(PARTITIONS)], ("commands", 0)]


def tape(ticks: int = TICKS) -> list[Tick]:
    """Every symbol in most minutes, in order of symbol."""
    market, seqs, out = random.Random(4), dict.fromkeys((f"S{i}" for i in range(SYMBOLS)), 0), []
    for t in range(1, ticks + 1):
        bars = []
        for symbol in seqs:
            if market.random() < 0.9:
                seqs[symbol] += 1
                bars.append(bar(symbol, seqs[symbol], t * 60, 100 + market.random()))
        out.append(Tick(t * 60, bars))
    return out


class TapeSource(FixedPartitionedSource[ShardTicks, int]):
    """Ticks out of memory, `size` a batch; with `fail_at`, the worker dies without notice before that tick."""

    def __init__(self, ticks: list[Tick], size: int = 7, fail_at: int | None = None) -> None:
        self.ticks, self.size, self.fail_at = ticks, size, fail_at

    def list_parts(self) -> list[str]:
        return [topology.FEED]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Any:
        source, start = self, resume_state or 0

        class Part(StatefulSourcePartition[ShardTicks, int]):
            at = start

            def next_batch(self) -> list[ShardTicks]:
                if source.fail_at is not None and self.at >= source.fail_at:
                    raise AbortExecution
                if self.at >= len(source.ticks):
                    raise StopIteration
                ticks = source.ticks[self.at : self.at + source.size]
                self.at += len(ticks)
                return [(topology.FEED, ticks)]

            def snapshot(self) -> int:
                return self.at

        return Part()


class Collected(FixedPartitionedSink[list[Tick], None]):
    def __init__(self, parts: list[str]) -> None:
        self.parts = parts
        self.ticks: dict[str, list[Tick]] = {part: [] for part in parts}

    def list_parts(self) -> list[str]:
        return self.parts

    def part_fn(self, item_key: str) -> int:
        return sorted(self.parts).index(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Any:
        into = self.ticks[for_part]

        class Part(StatefulSinkPartition[list[Tick], None]):
            def write_batch(self, values: list[list[Tick]]) -> None:
                for ticks in values:
                    into.extend(ticks)

            def snapshot(self) -> None:
                return None

        return Part()


@pytest.fixture
def prefix(kafka: str) -> str:
    """Fresh topics of one test."""
    name = f"t{uuid.uuid4().hex[:8]}-"
    topics = [NewTopic(f"{name}market-bars", PARTITIONS, 1), NewTopic(f"{name}commands", 1, 1)]
    admin = AdminClient({"bootstrap.servers": kafka})  # must outlive its futures
    for made in admin.create_topics(topics).values():
        made.result(20)
    return name


def bars_sink(kafka: str, prefix: str) -> KafkaTickSink:
    return KafkaTickSink(
        kafka,
        writer="market_data@test",
        topics=["market-bars"],
        clocked={topology.FEED: CLOCKED},
        partitions=PARTITIONS,
        prefix=prefix,
    )


def write(kafka: str, prefix: str, source: TapeSource, recovery: RecoveryConfig | None = None) -> None:
    flow = Dataflow("market_data")
    op_output("kafka", op_input("ticks", flow, source), bars_sink(kafka, prefix))
    run_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)


def bars_logs() -> list[Log]:
    return [Log("market-bars", p, 0) for p in range(PARTITIONS)]


def read(kafka: str, prefix: str, until: Until | None = None, workers: int = 1, by_shard: bool = False) -> Collected:
    logs = {str(p): [Log("market-bars", p, 0)] for p in range(PARTITIONS)} if by_shard else {"books": bars_logs()}
    until = until or Until(end_of_logs=True)
    source = KafkaTicks(kafka, "features", logs, prefix=prefix, until=until)
    sink = Collected(list(logs))
    flow = Dataflow("reading")
    op_output("out", op_input("ticks", flow, source), sink)
    if workers == 1:
        run_main(flow)
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)
    return sink


def as_written(partition: int) -> list[tuple[int, Any]]:
    """What `write` puts into one partition of market-bars, with offsets."""
    messages: list[Any] = []
    for tick in tape():
        messages += [b for b in tick.records if partition_of(b.symbol, PARTITIONS) == partition]  # type: ignore[union-attr]
        messages.append(Clock(tick.ts_ns, ""))
    return list(enumerate(messages))


def put(kafka: str, prefix: str, partition: int, *values: bytes) -> None:
    made = producer(kafka)
    for value in values:
        made.produce(f"{prefix}market-bars", value, partition=partition)
    assert made.flush(20) == 0


def test_ticks_come_out_as_they_went_in(kafka: str, prefix: str) -> None:
    write(kafka, prefix, TapeSource(tape()))
    assert read(kafka, prefix).ticks["books"] == tape()


@pytest.mark.parametrize("workers", [1, 2])
def test_each_shard_sees_its_own_symbols_and_every_tick(kafka: str, prefix: str, workers: int) -> None:
    write(kafka, prefix, TapeSource(tape()))
    shards = read(kafka, prefix, by_shard=True, workers=workers).ticks
    for shard in range(PARTITIONS):
        mine = [
            Tick(t, [b for b in records if partition_of(b.symbol, PARTITIONS) == shard])  # type: ignore[union-attr]
            for t, records in tape()
        ]
        assert shards[str(shard)] == mine


def test_a_log_that_all_shards_read_reaches_each_from_where_it_stood(kafka: str, prefix: str) -> None:
    """As after a restart: one shard was ahead of the other when their states were saved."""
    write(kafka, prefix, TapeSource(tape()))
    logs = {str(p): [Log("market-bars", p, 0), Log("commands", 0, 1)] for p in range(PARTITIONS)}
    source = KafkaTicks(kafka, "signals", logs, prefix=prefix, until=Until(end_of_logs=True))
    upto = tape()[2].ts_ns
    own = [message for message in as_written(0) if message[1].ts_ns <= upto]
    ahead = AlignedLogs("signals", logs["0"])
    ahead.feed("market-bars", 0, own)
    ahead.feed("commands", 0, [(offset, Clock(tick.ts_ns, "")) for offset, tick in enumerate(tape()[:3])])
    ahead.ticks()
    saved = ahead.snapshot()
    parts = {shard: source.build_part("ticks", shard, saved if shard == "0" else None) for shard in logs}
    seen: dict[str, list[int]] = {shard: [] for shard in parts}
    for _ in range(200):
        for shard, part in list(parts.items()):
            try:
                seen[shard] += [tick.ts_ns for _, ticks in part.next_batch() for tick in ticks]
            except StopIteration:
                part.close()
                del parts[shard]
    every = [tick.ts_ns for tick in tape()]
    assert not parts
    assert seen.pop("0") == every[3:]
    assert all(ticks == every for ticks in seen.values())


def test_a_writer_that_died_and_came_back_leaves_the_same_ticks(kafka: str, prefix: str, tmp_path: Any) -> None:
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(str(tmp_path))
    for fail_at in (11, 23, 40):
        write(kafka, prefix, TapeSource(tape(), fail_at=fail_at), recovery)
    write(kafka, prefix, TapeSource(tape()), recovery)
    assert read(kafka, prefix).ticks["books"] == tape()


def test_what_is_no_record_becomes_a_dead_letter_and_the_rest_goes_on(kafka: str, prefix: str) -> None:
    good = tape(2)
    write(kafka, prefix, TapeSource(good[:1]))
    late = bar("S0", 99, 60)
    upside_down = bar("S0", 98, 120)._replace(high=1.0)
    put(kafka, prefix, 0, b"not avro", b"\0\0\0\x03\xe7abc", encode(late), encode(upside_down))
    write(kafka, prefix, TapeSource(good[1:]))
    first, second = read(kafka, prefix).ticks["books"]
    assert first == good[0]
    letters = [record for record in second.records if isinstance(record, DeadLetter)]
    assert [record for record in second.records if isinstance(record, Bar)] == good[1].records
    assert [(letter.reason.split(",")[0], letter.schema_id, letter.stage) for letter in letters] == [
        ("expected a zero byte and a 4-byte schema id", None, "features"),
        ("schema id 999 is not known", 999, "features"),
        ("field high must be >= low 100.0", None, "features"),
    ]
    assert letters[0].raw == b"not avro"
    assert len({(letter.topic, letter.partition, letter.offset) for letter in letters}) == 3
    [found] = [record for record in second.records if isinstance(record, LateRecord)]
    assert (found.ts_ns, found.record_ts_ns, decode(found.raw)) == (60, 60, late)


def test_a_flow_that_sets_too_much_aside_halts_before_that_tick_and_goes_on_when_released(
    kafka: str, prefix: str, tmp_path: Any
) -> None:
    ticks = tape(6)
    write(kafka, prefix, TapeSource(ticks[:3]))
    put(kafka, prefix, 0, *[b"not avro"] * 6)
    write(kafka, prefix, TapeSource(ticks[3:]))
    logs = {"books": [Log("market-bars", p, 0) for p in range(PARTITIONS)]}
    halts: list[tuple[int, str]] = []

    def run(released_ns: int) -> list[Tick]:
        limits = RateLimits(per_minute=5)
        source = KafkaTicks(
            kafka,
            "features",
            logs,
            prefix=prefix,
            until=Until(end_of_logs=True),
            records_max=1,
            limits=limits,
            released=lambda: released_ns,
            halted=lambda at_ns, reason: halts.append((at_ns, reason)),
        )
        out: list[Tick] = []
        part = source.build_part("ticks", "books", None)
        try:
            while True:
                out += [tick for _, batch in part.next_batch() for tick in batch]
        except StopIteration:
            return out
        except TooManyDeadLetters:
            return out
        finally:
            part.close()

    assert run(-1) == ticks[:3]
    [(at_ns, reason)] = halts
    assert at_ns == 240 and reason.startswith(
        "6 records set aside within a minute, limit 5, the last of them market-bars/0@"
    )
    assert run(-1) == ticks[:3] and len(halts) == 2, "it comes to the same tick again"
    assert [tick.ts_ns for tick in run(at_ns)] == [tick.ts_ns for tick in ticks]


def test_a_replay_ends_at_a_time(kafka: str, prefix: str) -> None:
    write(kafka, prefix, TapeSource(tape()))
    assert read(kafka, prefix, Until(ts_ns=20 * 60)).ticks["books"] == tape()[:20]


def test_a_replay_ends_at_an_offset(kafka: str, prefix: str) -> None:
    write(kafka, prefix, TapeSource(tape()))
    mine = [sum(partition_of(b.symbol, PARTITIONS) == 1 for b in tick.records) for tick in tape()]  # type: ignore[union-attr]
    behind_tick_20 = sum(mine[:20]) + 20  # its bars and clocks in partition 1
    until = Until(offsets={("market-bars", 1): behind_tick_20})
    assert read(kafka, prefix, until).ticks["books"] == tape()[:20]
    until = Until(offsets={("market-bars", 1): behind_tick_20 - 1})
    assert read(kafka, prefix, until).ticks["books"] == tape()[:19]


def test_a_position_that_has_left_the_log_is_an_error_and_not_a_jump(kafka: str, prefix: str) -> None:
    write(kafka, prefix, TapeSource(tape()))
    cut = TopicPartition(f"{prefix}market-bars", 0, 50)
    admin = AdminClient({"bootstrap.servers": kafka})
    for done in admin.delete_records([cut]).values():
        done.result(20)
    with pytest.raises(Exception) as error:
        read(kafka, prefix)
    causes = [error.value, error.value.__cause__]
    assert any(isinstance(cause, Unavailable) and "not in the log any more" in str(cause) for cause in causes)


def test_the_clock_names_its_writer_and_stands_in_every_partition(kafka: str, prefix: str) -> None:
    write(kafka, prefix, TapeSource(tape(3)))
    clocks = [Clock(t * 60, "market_data@test") for t in (1, 2, 3)]
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "look"})
    for topic, partition in CLOCKED:
        consumer.assign([TopicPartition(prefix + topic, partition, 0)])
        end = consumer.get_watermark_offsets(TopicPartition(prefix + topic, partition), timeout=10)[1]
        messages: list[Any] = []
        while len(messages) < end:
            messages += consumer.consume(end - len(messages), 5)
        assert [r for r in (decode(m.value()) for m in messages) if isinstance(r, Clock)] == clocks
    consumer.close()
