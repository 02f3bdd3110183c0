"""A stage between topics of a real broker: its throughput compared with a raw loop, and the latency of one hop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest
from bytewax.recovery import init_db_dir
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.local.ports import free_ports
from deploy.supervisor.topics import TopicSpec, create_topics
from operators.partitions import partition_of
from schemas.codec import decode, encode
from schemas.records import Clock
from sinks.kafka import producer
from tests.builders import bar
from tests.performance.conftest import RecordFigure

PARTITIONS, SYMBOLS = 4, 20
ROOT = Path(__file__).parents[2]
MINUTE_NS = 60_000_000_000
PAUSE_S = 0.005  # between time slices, so that each is processed alone
NewPrefix = Callable[[], str]


@pytest.fixture
def new_prefix(kafka: str) -> Iterator[NewPrefix]:
    """A function that creates topics and returns their prefix. The fixture deletes all topics at the end."""
    admin = AdminClient({"bootstrap.servers": kafka})
    topic_names: list[str] = []

    def create() -> str:
        prefix = f"perf{uuid.uuid4().hex[:8]}-"
        names = {f"{prefix}market-bars": PARTITIONS, f"{prefix}features": PARTITIONS, f"{prefix}dead-letters": 1}
        create_topics(kafka, [TopicSpec(name, count) for name, count in names.items()])
        topic_names.extend(names)
        return prefix

    yield create
    for topic in admin.delete_topics(topic_names).values():
        topic.result(20)


def minute_messages(minute: int, symbols: int = SYMBOLS) -> list[tuple[int, bytes, str | None]]:
    """Return `(partition, value, key)` messages: a bar of each symbol and the clock of every partition.

    With one symbol, return the clock of its partition only.
    """
    ts_ns = minute * MINUTE_NS
    out: list[tuple[int, bytes, str | None]] = []
    for number in range(symbols):
        symbol, price = f"S{number:02d}", 100.0 + (minute * 7 + number * 13) % 11
        minute_bar = bar(symbol, minute, ts_ns, price + 0.25, open=price, high=price + 0.5, low=price - 0.5)
        out.append((partition_of(symbol, PARTITIONS), encode(minute_bar), symbol))
    clock = encode(Clock(ts_ns, "market_data@test"))
    partitions = range(PARTITIONS) if symbols > 1 else [out[0][0]]
    return out + [(partition, clock, None) for partition in partitions]


def start_child(
    mode: str, kafka: str, prefix: str, folder: Path, *extra: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    environment = environment or {}
    store_name = f"{mode}-{prefix}{environment.get('PLATFORM_REPLICA', '')}"
    arguments = [mode, kafka, prefix, str(PARTITIONS), str(folder / store_name), *extra]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.performance.kafka_child", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def child_result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-2000:]
    # A Bytewax cluster prints lines of its own.
    result: dict[str, Any] = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    return result


def read_end_offsets(kafka: str, topic: str) -> list[int]:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "perf-ends"})
    try:
        logs = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        return [consumer.get_watermark_offsets(log, timeout=10)[1] for log in logs]
    finally:
        consumer.close()


def produce_minutes(kafka: str, prefix: str, minutes: int) -> int:
    """Write this many time slices into `market-bars` and return the number of messages."""
    sender = producer(kafka)
    for minute in range(1, minutes + 1):
        for partition, value, key in minute_messages(minute):
            sender.produce(f"{prefix}market-bars", value, key, partition)
        sender.poll(0)
    assert sender.flush(60) == 0
    return minutes * (SYMBOLS + PARTITIONS)


def measure_throughput(kafka: str, prefix: str, folder: Path, minutes: int, figure: RecordFigure) -> None:
    messages = produce_minutes(kafka, prefix, minutes)

    stage = child_result(start_child("stage", kafka, prefix, folder))
    end_offsets = read_end_offsets(kafka, f"{prefix}features")
    raw = child_result(start_child("raw", kafka, prefix, folder))
    end_offsets_after_raw = read_end_offsets(kafka, f"{prefix}features")
    assert sum(end_offsets) == messages
    assert end_offsets_after_raw == [2 * end for end in end_offsets], "the raw loop did the same work"

    figure(f"stage market-bars -> features, {messages:,} messages", f"{messages / stage['wall_s']:,.0f} messages/s")
    figure("  raw loop, the same work", f"{messages / raw['wall_s']:,.0f} messages/s")
    ratio = raw["cpu_s"] / stage["cpu_s"]
    figure(
        "  stage to raw", f"{raw['wall_s'] / stage['wall_s']:.2f} by the wall's clock, {ratio:.2f} by processor time"
    )
    assert ratio > 0.3, "the stage costs more than three times what its work costs"


def test_stage_throughput_is_close_to_a_raw_loop(
    kafka: str, new_prefix: NewPrefix, tmp_path: Path, figure: RecordFigure
) -> None:
    measure_throughput(kafka, new_prefix(), tmp_path, 2_500, figure)


@pytest.mark.long
def test_stage_throughput_is_close_to_a_raw_loop_on_a_long_run(
    kafka: str, new_prefix: NewPrefix, tmp_path: Path, figure: RecordFigure
) -> None:
    measure_throughput(kafka, new_prefix(), tmp_path, 25_000, figure)


def start_one_process(kafka: str, prefix: str, folder: Path) -> list[subprocess.Popen[str]]:
    return [start_child("stage", kafka, prefix, folder)]


def start_replicas(kafka: str, prefix: str, folder: Path) -> list[subprocess.Popen[str]]:
    """Start the same processes as `cli.py scale features 2`."""
    return [start_child("stage", kafka, prefix, folder, environment={"PLATFORM_REPLICA": f"{n}of2"}) for n in (1, 2)]


def start_cluster(kafka: str, prefix: str, folder: Path) -> list[subprocess.Popen[str]]:
    """Start two processes that exchange items, which `scale` does not do (`docs/decisions/0004-scaling.md`)."""
    store = folder / f"stage-{prefix}"
    store.mkdir()
    init_db_dir(store, PARTITIONS)
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(2))
    environments = [{"CLUSTER": addresses, "CLUSTER_PROCESS": str(number)} for number in (0, 1)]
    return [start_child("stage", kafka, prefix, folder, environment=environment) for environment in environments]


@pytest.mark.parametrize("minutes", [1_000, pytest.param(25_000, marks=pytest.mark.long)])
def test_stage_throughput_on_one_and_two_processes(
    minutes: int, kafka: str, new_prefix: NewPrefix, tmp_path: Path, figure: RecordFigure
) -> None:
    for name, start in (
        ("1 process", start_one_process),
        ("2 processes, own shards", start_replicas),
        ("2 of a cluster", start_cluster),
    ):
        prefix = new_prefix()
        messages = produce_minutes(kafka, prefix, minutes)
        results = [child_result(process) for process in start(kafka, prefix, tmp_path)]
        assert sum(read_end_offsets(kafka, f"{prefix}features")) == messages, "each message was taken once"
        rate = messages / max(result["wall_s"] for result in results)
        cpu_s = sum(result["cpu_s"] for result in results)
        figure(f"features, {messages:,} messages, {name}", f"{rate:,.0f} messages/s, {cpu_s:.1f} s of processor time")


def measure_hops_ms(kafka: str, prefix: str, topic: str, slice_count: int, symbols: int = SYMBOLS) -> list[float]:
    """Measure the time from the produce call of a time slice's last record to the arrival of all its clocks in `topic`.

    `topic` is `features` for the path through the stage, or `market-bars` for the path without a stage.
    """
    sender = producer(kafka)
    low_latency = {"fetch.wait.max.ms": 100, "socket.nagle.disable": True}
    receiver = Consumer({"bootstrap.servers": kafka, "group.id": f"{prefix}receiver", **low_latency})
    receiver.assign([TopicPartition(prefix + topic, partition, 0) for partition in range(PARTITIONS)])
    latencies_ms: list[float] = []
    for minute in range(1, slice_count + 1):
        records = minute_messages(minute, symbols)
        clocks_pending = len(records) - symbols
        for partition, value, key in records:
            sender.produce(f"{prefix}market-bars", value, key, partition)
        sent = time.perf_counter()
        deadline = sent + (60 if minute == 1 else 10)
        while clocks_pending and time.perf_counter() < deadline:
            sender.poll(0)
            message = receiver.poll(0.05)
            if message is not None and message.error() is None:
                record = decode(message.value())
                clocks_pending -= type(record) is Clock and record.ts_ns == minute * MINUTE_NS
        assert not clocks_pending, f"tick {minute} did not come"
        latencies_ms.append((time.perf_counter() - sent) * 1000)
        time.sleep(PAUSE_S)
    receiver.close()
    return latencies_ms[slice_count // 10 :]  # without the warm-up


def format_percentiles(latencies_ms: list[float]) -> str:
    cuts = quantiles(latencies_ms, n=100)
    return f"p50 {median(latencies_ms):.2f} ms, p95 {cuts[94]:.2f} ms, p99 {cuts[98]:.2f} ms"


@pytest.mark.parametrize("with_postgres", [False, True], ids=["kafka", "kafka and postgres"])
@pytest.mark.parametrize("symbols", [1, SYMBOLS])
def test_latency_of_one_stage_hop(
    kafka: str,
    database_url: str,
    new_prefix: NewPrefix,
    tmp_path: Path,
    figure: RecordFigure,
    with_postgres: bool,
    symbols: int,
) -> None:
    prefix = new_prefix()
    process = start_child("serve", kafka, prefix, tmp_path, *([database_url] if with_postgres else []))
    try:
        latencies_ms = measure_hops_ms(kafka, prefix, "features", 200, symbols)
    finally:
        process.terminate()
    child_result(process)
    bare_latencies_ms = measure_hops_ms(kafka, new_prefix(), "market-bars", 100, symbols)
    name = f"one hop, {symbols} bars a tick, " + (
        "Postgres sink in the same process" if with_postgres else "Kafka only"
    )
    figure(name, format_percentiles(latencies_ms))
    figure("  produced and consumed, no stage between", format_percentiles(bare_latencies_ms))
    assert median(latencies_ms) < 25 * median(bare_latencies_ms), "a step waits for a timeout of 100 ms or more"
