"""Derive tuning hints for PostgreSQL and Kafka, and apply those that are safe."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.errors import DeployError
from deploy.performance.analysis import TableUse, needs_index, needs_vacuum

if TYPE_CHECKING:
    from configs.settings import KafkaSection
    from sinks.cluster import Servers

SKEW_RATIO_MAX, SKEW_MESSAGES_MIN = 3.0, 10_000
ANALYZE_ROWS_MIN, INDEX_ROWS_MIN = 50, 10_000
"""Below these row counts, planner statistics and indexes do not matter."""


class TuningHint(NamedTuple):
    """A hint about a table or topic. `statement` applies it and is always safe; it is "" if a person must decide."""

    about: str
    text: str
    statement: str = ""


def database_hints(tables: list[TableUse]) -> list[TuningHint]:
    """Derive hints from PostgreSQL's statistics since their last reset."""
    hints = []
    for table in tables:
        name = '"' + table.name.replace('"', '""') + '"'
        if needs_vacuum(table):
            detail = f"{table.dead_rows:,} dead and {table.rows:,} live rows"
            hints.append(TuningHint(table.name, detail, f"VACUUM (ANALYZE) {name}"))
        elif table.rows > ANALYZE_ROWS_MIN and not table.analyzed:
            detail = "no planner statistics yet"
            hints.append(TuningHint(table.name, detail, f"ANALYZE {name}"))
        if needs_index(table):
            detail = f"{table.sequential_scans:,} sequential scans, {table.index_scans:,} index scans"
            hints.append(TuningHint(table.name, f"{detail}: an index may be missing"))
        hints += [
            TuningHint(table.name, f"index {index} was never read, and slows each write")
            for index in table.unused_indexes
            if table.rows > INDEX_ROWS_MIN
        ]
    return hints


def apply_hints(database_url: str, hints: list[TuningHint]) -> list[str]:
    """Execute the statements of the hints and return them. Raises DeployError."""
    import psycopg2

    from sinks.database import libpq_url

    applied = []
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5)) as db:
            db.autocommit = True  # VACUUM cannot run in a transaction
            with db.cursor() as cursor:
                for hint in hints:
                    if hint.statement:
                        cursor.execute(hint.statement)
                        applied.append(hint.statement)
    except psycopg2.Error as error:
        raise DeployError(f"cannot apply the hints: {str(error).strip().splitlines()[0]}") from error
    return applied


def kafka_hints(kafka: KafkaSection) -> list[TuningHint]:
    """Derive hints from the settings and sizes of the topics. Raises DeployError if Kafka does not respond."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # exported at run time only

    from sinks.admin_operations import admin_result
    from sinks.cluster import client_config

    admin = AdminClient(client_config(kafka.cluster, {"log_level": 0}))
    try:
        existing = admin.list_topics(timeout=10).topics
        names = [kafka.topic_prefix + topic for topic in kafka.topics if kafka.topic_prefix + topic in existing]
        config_futures = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name) for name in names])
        settings = {resource.name: admin_result(future, 10) for resource, future in config_futures.items()}
        counts = _message_counts(kafka.cluster, {name: len(existing[name].partitions) for name in names})
    except KafkaException as error:
        raise DeployError(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from error
    hints = []
    for name in names:
        hints += _topic_hints(name, {key: entry.value for key, entry in settings[name].items()}, counts[name])
    return hints


def _topic_hints(name: str, settings: Mapping[str, Any], counts: list[int]) -> list[TuningHint]:
    hints = []
    if "compact" in str(settings.get("cleanup.policy")):
        detail = "compacted, but replays and rebuilds need all its records: set cleanup.policy=delete"
        hints.append(TuningHint(name, detail))
    retention, segment = int(settings.get("retention.ms") or -1), int(settings.get("segment.ms") or 0)
    if 0 < retention < segment:
        hints.append(
            TuningHint(
                name, "retains records longer than retention.ms, because its segments last longer: lower segment.ms"
            )
        )
    total, largest = sum(counts), max(counts)
    if len(counts) > 1 and total > SKEW_MESSAGES_MIN and largest > SKEW_RATIO_MAX * total / len(counts):
        share = largest / total
        hints.append(
            TuningHint(
                name,
                f"one of {len(counts)} partitions has {share:.0%} of the messages: the load of the shards is uneven",
            )
        )
    return hints


def _message_counts(servers: Servers, partitions: Mapping[str, int]) -> dict[str, list[int]]:
    from confluent_kafka import Consumer

    from sinks.cluster import client_config
    from sinks.log_offsets import log_range

    with closing(Consumer(client_config(servers, {"group.id": "optimize", "log_level": 0}))) as consumer:
        counts = {}
        for name, count in partitions.items():
            ends = [log_range(consumer, name, partition, timeout_s=10) for partition in range(count)]
            counts[name] = [high - low for low, high in ends]
    return counts
