"""Read what a state consists of before a start: recovery stores, topics, tables and their identities."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflows.runtime.topology import COMPACT
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.store_positions import StorePositions, missing_stores, read_positions
from deploy.supervisor.layout import dataflow_names
from deploy.supervisor.platform_identity import RecordedIdentities, read_cluster_id, read_identities
from deploy.supervisor.state import replace_file
from schemas.errors import Unavailable
from schemas.log_names import LogName
from schemas.records import TOPIC_OF, Command, Configuration

if TYPE_CHECKING:
    from configs.settings import Settings

COMPARED_TABLES = {"executions": "execution", "orders": "risk"}
"""Table, which has the name of its topic -> service that writes both."""
_TAIL_MESSAGES = 5000
_KAFKA_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class StateContents:
    """What is in the three places.

    `log_ranges`: first and end offset of each log of an existing topic; `archived`: those of the archive. `stores`:
    positions by service; a service of `missing_stores` has no store. `tables`: the tables with rows. `last_seqs`: for
    each table of `COMPARED_TABLES`, the last `seq` in the table and in its topic, 0 where there is none, up to the
    snapshot of the service that writes both: later records may be in one of them only, and are written again. `starts`:
    how often each process had started at the last successful check.
    """

    identities: RecordedIdentities
    cluster_id: str
    log_ranges: Mapping[tuple[str, int], tuple[int, int]]
    stores: Mapping[str, Sequence[StorePositions]]
    missing_stores: Sequence[str] = ()
    tables: Sequence[str] = ()
    last_seqs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    starts: Mapping[str, int] = field(default_factory=dict)
    archived: Mapping[LogName, tuple[int, int]] = field(default_factory=dict)

    @property
    def topics_with_records(self) -> list[str]:
        return sorted({topic for (topic, _), (_, end) in self.log_ranges.items() if end > 0})

    @property
    def used_stores(self) -> list[StorePositions]:
        return [store for stores in self.stores.values() for store in stores if store.starts]

    @property
    def empty(self) -> bool:
        """Whether nothing has run yet. Signing keys and settings are in the topics `commands` and
        `configuration` before anything runs."""
        topics = set(self.topics_with_records) - {TOPIC_OF[Command], TOPIC_OF[Configuration]}
        return not (topics or self.used_stores or self.tables)


def read_contents(home: Home, settings: Settings, *, with_stores: bool = True) -> StateContents:
    """Read all three places. Raises DeployError if one cannot be read."""
    identities = read_identities(home, settings)
    missing = missing_stores(home) if with_stores else []
    services = [name for name in dataflow_names(home) if name not in missing] if with_stores else []
    # Stores and tables before the ends of the topics: a running platform writes them later.
    stores = {name: read_positions(home, name) for name in services}
    snapshots_ns = {
        table: min((store.last_slice_ns for store in stores.get(service, stores.get(COMPACT, []))), default=-1)
        for table, service in COMPARED_TABLES.items()
    }
    tables, table_seqs = _read_tables(settings.database.postgres.url, snapshots_ns)
    log_ranges = _read_log_ranges(settings)
    topic_seqs = {table: _last_seq(settings, table, log_ranges, until_ns) for table, until_ns in snapshots_ns.items()}
    return StateContents(
        identities=identities,
        cluster_id=read_cluster_id(settings.kafka.cluster),
        log_ranges=log_ranges,
        stores=stores,
        missing_stores=missing,
        tables=tables,
        last_seqs={table: (table_seqs.get(table, 0), seq) for table, seq in topic_seqs.items() if seq is not None},
        starts=_read_starts(home),
        archived=_archived_ranges(settings),
    )


def _archived_ranges(settings: Settings) -> dict[LogName, tuple[int, int]]:
    """Return the first offset and the end of each archived log. Raises DeployError if a manifest is damaged."""
    archive = settings.kafka.archive
    try:
        logs = {} if archive is None else {log: archive.files(*log) for log in archive.logs()}
    except Unavailable as error:
        raise DeployError(str(error)) from error
    return {log: (files[0].start, files[-1].end) for log, files in logs.items() if files}


def write_starts(home: Home, starts: Mapping[str, int]) -> None:
    """Remember how often each process has started, so that an older copy of a store is recognized."""
    replace_file(_starts_file(home), json.dumps(starts, indent=1))


def forget_starts(home: Home, service: str) -> None:
    """Forget how often a service has started, after its store was replaced."""
    starts = {name: count for name, count in _read_starts(home).items() if name.split("-")[0] != service}
    write_starts(home, starts)


def _starts_file(home: Home) -> Path:
    return home.recovery / "starts.json"


def _read_starts(home: Home) -> dict[str, int]:
    try:
        starts: dict[str, int] = json.loads(_starts_file(home).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return starts


def _read_tables(database_url: str, snapshots_ns: Mapping[str, int]) -> tuple[list[str], dict[str, int]]:
    """Return the tables of records that have rows, and the last `seq` of the compared ones up to their snapshot."""
    import psycopg2
    from psycopg2 import sql

    from sinks.database import libpq_url
    from sinks.tables import TABLE_OF

    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
            existing = {name for (name,) in cursor.fetchall()}
            with_rows, seqs = [], {}
            for name in sorted({table.name for table in TABLE_OF.values()} & existing):
                cursor.execute(sql.SQL("SELECT EXISTS (SELECT 1 FROM {})").format(sql.Identifier(name)))
                row = cursor.fetchone()
                if row is not None and row[0]:
                    with_rows.append(name)
                    if name in snapshots_ns:
                        query = sql.SQL("SELECT coalesce(max(seq), 0) FROM {} WHERE ts_ns <= %s")
                        cursor.execute(query.format(sql.Identifier(name)), (snapshots_ns[name],))
                        newest = cursor.fetchone()
                        seqs[name] = 0 if newest is None else int(newest[0])
            return with_rows, seqs
    except psycopg2.Error as error:
        raise DeployError(f"cannot read the database: {(str(error).strip().splitlines() or [''])[0]}") from error


def _read_log_ranges(settings: Settings) -> dict[tuple[str, int], tuple[int, int]]:
    from confluent_kafka import Consumer, KafkaException

    from sinks.cluster import client_config
    from sinks.kafka_errors import KafkaErrorListener
    from sinks.log_offsets import log_range

    kafka, kafka_errors = settings.kafka, KafkaErrorListener()
    options = kafka_errors.options({"group.id": f"{kafka.topic_prefix}state-check", "log_level": 0})
    try:
        with closing(Consumer(client_config(kafka.cluster, options))) as consumer:
            topics = kafka_errors.metadata(consumer, _KAFKA_TIMEOUT_S).topics
            return {
                (topic, partition): log_range(
                    consumer, kafka.topic_prefix + topic, partition, timeout_s=_KAFKA_TIMEOUT_S
                )
                for topic in kafka.topics
                if kafka.topic_prefix + topic in topics
                for partition in topics[kafka.topic_prefix + topic].partitions
            }
    except KafkaException as error:
        raise DeployError(f"cannot read the topics of Kafka at {kafka.cluster}: {error.args[0].str()}") from error


def _last_seq(
    settings: Settings, topic: str, log_ranges: Mapping[tuple[str, int], tuple[int, int]], until_ns: int
) -> int | None:
    """Return the last `seq` up to a time among the last messages of a one-partition topic; None if it is not there.

    0 stands for a topic without such a record. Only the records that are rows of the table of this name count.
    """
    from confluent_kafka import Consumer, TopicPartition

    from schemas.codec import decode
    from schemas.errors import Undecodable
    from sinks.cluster import client_config
    from sinks.tables import TABLE_OF

    first, end = log_ranges.get((topic, 0), (0, 0))
    if first >= end:
        return 0
    kind: Any = next(record_type for record_type, table in TABLE_OF.items() if table.name == topic)
    kafka, last = settings.kafka, 0
    start = max(first, end - _TAIL_MESSAGES)
    options = {"group.id": f"{kafka.topic_prefix}state-check", "log_level": 0, "enable.auto.commit": False}
    with closing(Consumer(client_config(kafka.cluster, options))) as consumer:
        consumer.assign([TopicPartition(kafka.topic_prefix + topic, 0, start)])
        deadline, offset = time.monotonic() + _KAFKA_TIMEOUT_S, start
        while offset < end:
            if time.monotonic() > deadline:
                raise DeployError(f"cannot read topic {topic} of Kafka at {kafka.cluster}: no response from the broker")
            for message in consumer.consume(min(1000, end - offset), 0.5):
                if message.error() is not None:
                    continue
                offset = (message.offset() or 0) + 1
                try:
                    record: Any = decode(message.value())
                except Undecodable:
                    continue
                if type(record) is kind and record.ts_ns <= until_ns:
                    last = max(last, record.seq)
    return last if last or start == first else None
