"""The features service, or a raw loop that does the same work, in its own process.

    python -m tests.performance.kafka_child stage|raw|serve SERVERS PREFIX PARTITIONS RECOVERY_FOLDER [DATABASE_URL]

`stage` and `raw` read `market-bars` to its end, write `features` and print the time that they took as JSON. `serve`
runs the stage until SIGTERM, for latency; with a database address it also writes to PostgreSQL.

`stage` with PLATFORM_REPLICA is one of several processes with their own shards. With the addresses of all processes
in CLUSTER and its number in CLUSTER_PROCESS it is one process of a Bytewax cluster, whose store must exist.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main
from confluent_kafka import Consumer, TopicPartition

from configs.settings import load_settings
from dataflows import features
from dataflows.runtime import live_endpoints, shutdown, topology
from dataflows.runtime.wiring import SliceSink
from dataflows.sources.kafka import KafkaSliceSource
from dataflows.sources.shared_consumer import ReplayEnd
from operators.indicators import build
from operators.partitions import partition_of
from schemas.codec import SCHEMA_IDS, schema_json
from schemas.records import Bar, Clock, FeatureRow
from sinks.kafka import KafkaSliceSink, producer
from sinks.postgres import PostgresSink

SPECS = ("ema_12", "ema_26", "rsi_14")


def run_stage(servers: str, prefix: str, partitions: int, folder: Path, database_url: str, *, bounded: bool) -> None:
    settings = load_settings(None, {"FEATURES__INDICATORS": "[]"})
    shards = live_endpoints.own_shards("features", partitions)
    source = KafkaSliceSource(
        servers,
        "features",
        # Read only the topic that the raw loop also reads.
        {
            shard: [log for log in topology.input_logs("features", shard, partitions) if log.topic == "market-bars"]
            for shard in shards
        },
        prefix=prefix,
        until=ReplayEnd(end_of_logs=True) if bounded else None,
        stop_requested=shutdown.stop_requested,
    )
    sinks: dict[str, SliceSink] = {
        "kafka": KafkaSliceSink(
            servers,
            writer="features@test",
            topics=["features", "dead-letters"],
            clock_partitions={shard: topology.clocked_logs("features", shard, partitions) for shard in shards},
            partitions=partitions,
            prefix=prefix,
        )
    }
    if database_url:
        sinks["postgres"] = PostgresSink(database_url)
    addresses = os.environ["CLUSTER"].split(";") if "CLUSTER" in os.environ else []
    if not addresses:
        folder.mkdir()
        init_db_dir(folder, 1)
    shutdown.install_signal_handler()
    flow, epoch_interval = features.build(settings, source, sinks), timedelta(seconds=1)
    recovery = RecoveryConfig(folder, timedelta(0))
    if addresses:
        process_number = int(os.environ["CLUSTER_PROCESS"])
        cluster_main(flow, addresses, process_number, epoch_interval=epoch_interval, recovery_config=recovery)
    else:
        run_main(flow, epoch_interval=epoch_interval, recovery_config=recovery)


def run_raw(servers: str, prefix: str, partitions: int) -> None:
    """Only consume, decode, compute the same indicators, encode and produce. The loop has no at-least-once delivery."""
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": f"{prefix}raw", "fetch.queue.backoff.ms": 2, "linger.ms": 0}
        | {"enable.auto.commit": False, "queued.max.messages.kbytes": 16384}
    )
    sender = producer(servers)
    logs = [TopicPartition(f"{prefix}market-bars", partition, 0) for partition in range(partitions)]
    remaining = sum(consumer.get_watermark_offsets(log, timeout=10)[1] for log in logs)
    consumer.assign(logs)
    bar_schema, row_schema, clock_schema = (
        fastavro.parse_schema(json.loads(schema_json(record_type))) for record_type in (Bar, FeatureRow, Clock)
    )
    bar_id, row_id, clock_id = (SCHEMA_IDS[record_type].to_bytes(4, "big") for record_type in (Bar, FeatureRow, Clock))
    topic = f"{prefix}features"
    symbols: dict[str, tuple[list[Any], list[int]]] = {}
    while remaining:
        for message in consumer.consume(min(remaining, 1000), 1.0):
            remaining -= 1
            value = message.value() or b""
            data = BytesIO(value)
            data.seek(5)
            result = BytesIO()
            if value[1:5] != bar_id:
                clock = fastavro.schemaless_reader(data, clock_schema, None)
                result.write(b"\0" + clock_id)
                fastavro.schemaless_writer(result, clock_schema, clock)
                sender.produce(topic, result.getvalue(), None, message.partition() or 0)
                continue
            bar = Bar._make(fastavro.schemaless_reader(data, bar_schema, None).values())  # type: ignore[union-attr]
            if bar.symbol not in symbols:
                symbols[bar.symbol] = ([build(spec) for spec in SPECS], [0])
            indicators, count = symbols[bar.symbol]
            values: dict[str, float] = {}
            for indicator in indicators:
                indicator.update(bar, values)
            count[0] += 1
            row = {"symbol": bar.symbol, "seq": count[0], "ts_ns": bar.ts_ns, "bar_seq": bar.seq, "close": bar.close}
            result.write(b"\0" + row_id)
            fastavro.schemaless_writer(result, row_schema, {**row, "values": values})
            sender.produce(topic, result.getvalue(), bar.symbol, partition_of(bar.symbol, partitions))
        sender.poll(0)
    assert sender.flush(60) == 0
    consumer.close()


def main(mode: str, servers: str, prefix: str, partitions: int, folder: Path, database_url: str = "") -> None:
    gc.collect()
    wall_start_s, cpu_start_s = time.perf_counter(), time.process_time()
    if mode == "raw":
        run_raw(servers, prefix, partitions)
    else:
        run_stage(servers, prefix, partitions, folder, database_url, bounded=mode == "stage")
    print(json.dumps({"wall_s": time.perf_counter() - wall_start_s, "cpu_s": time.process_time() - cpu_start_s}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]), *sys.argv[6:])
