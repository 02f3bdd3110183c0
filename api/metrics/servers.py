"""Metrics of PostgreSQL, Kafka, Redis and the machine: availability, latency, size and lag."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import psutil
import redis
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # OffsetSpec is exported at run time only
from prometheus_client.core import Metric
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from api.metrics.collector import Labels, Value, counter, gauge, single
from api.metrics.committed_offsets import CommittedOffsets
from configs.settings import KafkaSection
from schemas.log_names import LogName

KAFKA_TIMEOUT_S = 2.0
_TABLES = """
SELECT r.relname, sum(pg_total_relation_size(c.oid))::bigint AS bytes, sum(greatest(s.n_live_tup, 0))::bigint AS live
FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
JOIN pg_class r ON r.oid = coalesce(pg_partition_root(c.oid), c.oid)
WHERE c.relnamespace = 'public'::regnamespace GROUP BY 1
"""


class DatabaseMetrics:
    """The statistics of PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> list[Metric]:
        try:
            return self._read_statistics()
        except SQLAlchemyError:
            return [single("platform_database_up", "1 while PostgreSQL responds", 0)]

    def _read_statistics(self) -> list[Metric]:
        with self._engine.connect() as db:
            skew_s = _clock_skew_s(db)
            began = time.perf_counter()
            db.execute(text("SELECT 1 FROM valuations LIMIT 1"))
            took_s = time.perf_counter() - began
            row = db.execute(text("SELECT * FROM pg_stat_database WHERE datname = current_database()")).mappings().one()
            size = db.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
            tables = db.execute(text(_TABLES)).all()
            sessions = db.execute(
                text(
                    "SELECT coalesce(state, 'other'), count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() GROUP BY 1"
                )
            ).all()
        looked_up = row["blks_hit"] + row["blks_read"]
        return [
            single("platform_database_up", "1 while PostgreSQL responds", 1),
            single("platform_database_query_seconds", "duration of one small query at the time of the scrape", took_s),
            single(
                "platform_clock_skew_seconds",
                "difference between the clocks of PostgreSQL and of the API, beyond the duration of the request",
                skew_s,
            ),
            single("platform_database_size_bytes", "size of the database", size),
            gauge(
                "platform_database_table_bytes",
                "size of a table with its indexes",
                ("table",),
                {(t,): b for t, b, _ in tables},
            ),
            gauge(
                "platform_database_table_rows",
                "rows, as estimated by the statistics",
                ("table",),
                {(t,): n for t, _, n in tables},
            ),
            gauge("platform_database_connections", "sessions by state", ("state",), {(s,): n for s, n in sessions}),
            counter("platform_database_commits", "transactions committed", (), {(): row["xact_commit"]}),
            counter("platform_database_rollbacks", "transactions rolled back", (), {(): row["xact_rollback"]}),
            counter(
                "platform_database_rows_written",
                "rows inserted or updated",
                (),
                {(): row["tup_inserted"] + row["tup_updated"]},
            ),
            counter("platform_database_deadlocks", "deadlocks", (), {(): row["deadlocks"]}),
            single(
                "platform_database_cache_hit_ratio",
                "share of blocks found in shared buffers",
                row["blks_hit"] / looked_up if looked_up else None,
            ),
        ]


def _clock_skew_s(db: Connection) -> float:
    """Return by how much PostgreSQL's clock is outside the time of the request on this machine's clock."""
    before = time.time()
    there = float(db.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return max(0.0, before - there, there - time.time())


class KafkaMetrics:
    """The end offsets of the topics and the lag of each dataflow, by the offsets that it commits for monitoring."""

    def __init__(
        self,
        kafka: KafkaSection,
        client: Callable[[], AdminClient],
        shared_processes: Callable[[], Mapping[str, Collection[str]]] = dict,
    ) -> None:
        """`shared_processes` returns the services of each process that runs several."""
        self._shared_processes = shared_processes
        self._kafka, self._client, self._committed = kafka, client, CommittedOffsets(kafka)
        self._partitions = {
            topic: kafka.symbol_partitions if entry.partitions == "symbols" else entry.partitions
            for topic, entry in kafka.topics.items()
        }

    def read(self) -> list[Metric]:
        try:
            end_offsets = self._ends()
        except (KafkaException, TimeoutError):
            return [single("platform_kafka_up", "1 while Kafka responds", 0)]
        lags: dict[Labels, Value] = dict(self._lags(end_offsets))  # empty while the group coordinator is unavailable
        service_lags: dict[Labels, Value] = {}
        for (service, _), lag in lags.items():
            service_lags[(service,)] = (service_lags.get((service,)) or 0) + (lag or 0)
        return [
            single("platform_kafka_up", "1 while Kafka responds", 1),
            gauge(
                "platform_kafka_log_end_offset",
                "messages written to a partition since its creation",
                ("topic", "partition"),
                {(topic, str(partition)): end for (topic, partition), end in end_offsets.items()},
            ),
            gauge(
                "platform_kafka_consumer_lag_messages",
                "messages of a topic that a dataflow has not stored in a snapshot yet",
                ("service", "topic"),
                lags,
            ),
            gauge(
                "platform_kafka_service_lag_messages",
                "messages of all topics that a dataflow has not stored in a snapshot yet",
                ("service",),
                service_lags,
            ),
        ]

    def _ends(self) -> dict[LogName, int]:
        """Return end offsets by (topic, partition), without topics that do not exist yet.

        Raises KafkaException or TimeoutError if no broker responds.
        """
        prefix, latest = self._kafka.topic_prefix, OffsetSpec.latest()
        existing_topics = self._client().list_topics(timeout=KAFKA_TIMEOUT_S).topics
        requested = {
            TopicPartition(prefix + topic, partition): latest
            for topic, count in self._partitions.items()
            for partition in range(count)
            if prefix + topic in existing_topics
        }
        end_offsets = {}
        for topic_partition, future in self._client().list_offsets(requested, request_timeout=KAFKA_TIMEOUT_S).items():
            try:
                end_offsets[topic_partition.topic.removeprefix(prefix), topic_partition.partition] = future.result(
                    KAFKA_TIMEOUT_S + 1
                ).offset
            except KafkaException as error:
                # A positive code is a broker's response; a negative one means that the client reached no broker.
                if error.args[0].code() < 0:
                    raise
        return end_offsets

    def _lags(self, end_offsets: dict[LogName, int]) -> list[tuple[tuple[str, str], int]]:
        """Return lags by (reader, topic). Omits groups that never committed or whose coordinator does not respond."""
        topics = self._kafka.topics
        logs: dict[str, list[LogName]] = {
            reader: [log for log in end_offsets if reader in topics[log[0]].readers]
            for reader in sorted({reader for entry in topics.values() for reader in entry.readers})
        }
        for process, services in self._shared_processes().items():
            # It reads the topics that its services do not write themselves.
            read = {log for service in services for log in logs.pop(service, ())}
            logs[process] = sorted(log for log in read if topics[log[0]].owner not in services)
        lags: dict[tuple[str, str], int] = {}
        for reader, offsets in self._committed.read(logs, timeout_s=KAFKA_TIMEOUT_S).items():
            for (topic, partition), offset in offsets.items():
                lag = max(0, end_offsets[topic, partition] - offset)
                lags[reader, topic] = lags.get((reader, topic), 0) + lag
        return list(lags.items())


def read_redis(client: redis.Redis) -> list[Metric]:
    try:
        info = client.info()
    except redis.RedisError:
        return [single("platform_redis_up", "1 while Redis responds", 0)]
    assert isinstance(info, dict)
    return [
        single("platform_redis_up", "1 while Redis responds", 1),
        single("platform_redis_memory_bytes", "memory that Redis uses", info.get("used_memory")),
        single("platform_redis_clients", "connections to Redis", info.get("connected_clients")),
        counter(
            "platform_redis_commands", "commands processed by Redis", (), {(): info.get("total_commands_processed")}
        ),
    ]


def read_host() -> list[Metric]:
    """Return metrics of the machine that runs the API."""
    memory, times = psutil.virtual_memory(), psutil.cpu_times()
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
    state = ("state",)
    return [
        counter("platform_host_cpu_busy_seconds", "processor time used by all processors", (), {(): busy}),
        single("platform_host_cpus", "processors", psutil.cpu_count()),
        gauge(
            "platform_host_memory_bytes",
            "memory of the machine, available and total",
            state,
            {("available",): memory.available, ("total",): memory.total},
        ),
    ]
