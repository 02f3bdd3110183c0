"""Delete archived messages from Kafka that no reader needs there any more, with Kafka's DeleteRecords.

Only whole days are deleted. These messages stay:

- those that the archive does not contain (archived files are first read and compared with their hashes),
- those of the last days, as many as `kafka.retention` defines, counted back from the newest clock,
- those from the day of the oldest time slice from which a recovery store resumes, and from the next offset of every
  store,
- those from the offset that a consumer group of another program has committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from dataflows.runtime import topology
from deploy.backup.topic_messages import LogReader
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.store_positions import StorePositions, missing_stores, read_positions
from deploy.supervisor.layout import dataflow_names
from schemas.log_names import LogName
from sinks.admin_operations import admin_result
from sinks.archive.log_manifest import ArchivedFile
from sinks.archive.topic_archive import TopicArchive, archive_day
from sinks.cluster import client_config

if TYPE_CHECKING:
    from configs.settings import KafkaSection
    from deploy.supervisor.process_spec import ProgressCallback

_TIMEOUT_S = 60.0
_FEED_TOPIC = "market-bars"
_EDGES = ("news", "fundamentals")
"""Dataflows without time slices. They read only the end of a topic."""


class LogDeletion(NamedTuple):
    """One log: its messages at the offsets [start, end) are deleted. `limited_by` is the reason why
    later messages stay.
    """

    topic: str
    partition: int
    start: int
    end: int
    limited_by: str


class RequiredMessages(NamedTuple):
    """What readers need in Kafka: the days from `first_day` on, and for some logs the messages from an offset on, with
    the name of the reader.
    """

    first_day: str
    offsets: Mapping[LogName, tuple[int, str]]


NOTHING_REQUIRED = RequiredMessages("9999-12-31", {})


def plan_deletions(
    kafka: KafkaSection,
    reader: LogReader,
    archive: TopicArchive,
    required: RequiredMessages,
) -> list[LogDeletion]:
    """Return the logs from which `kafka.retention` and the readers allow to delete messages."""
    newest_ns = max(
        reader.last_clock_ns(_FEED_TOPIC, partition)
        for partition in topology.partitions_of(_FEED_TOPIC, kafka.symbol_partitions)
    )
    newest_day = date.fromisoformat(archive_day(newest_ns))
    deletions = []
    existing = reader.existing_topics()
    for topic, days in kafka.retention.items():
        if topic not in existing:
            continue
        first_retained_day = (newest_day - timedelta(days=days - 1)).isoformat()
        for partition in topology.partitions_of(topic, kafka.symbol_partitions):
            start = reader.offsets(topic, partition).start
            end, limited_by = deletion_end(
                archive.files(topic, partition),
                first_retained_day,
                required.first_day,
                required.offsets.get((topic, partition)),
            )
            if end > start and archive.holds(topic, partition, start, end):
                deletions.append(LogDeletion(topic, partition, start, end, limited_by))
    return deletions


def deletion_end(
    files: Sequence[ArchivedFile], first_retained_day: str, first_day: str, needed: tuple[int, str] | None
) -> tuple[int, str]:
    """Return the offset before which the messages of a log may be deleted, and what limits it.

    >>> days = [ArchivedFile(f"2024-01-0{n}", "", 10 * n, 10 * n + 10, 0, 0, "") for n in (1, 2, 3)]
    >>> deletion_end(days, "2024-01-03", "2024-01-09", None)
    (30, 'the retention')
    >>> deletion_end(days, "2024-01-03", "2024-01-02", None)
    (20, 'the recovery stores')
    >>> deletion_end(days, "2024-01-03", "2024-01-09", (15, "consumer group risk-report"))
    (10, 'consumer group risk-report')
    >>> deletion_end(days, "2024-01-09", "2024-01-09", None)
    (40, 'the archive')
    """
    limit_day, limited_by = min((first_retained_day, "the retention"), (first_day, "the recovery stores"))
    end = next((file.start for file in files if file.day >= limit_day), None)
    if end is None:
        end, limited_by = (files[-1].end if files else 0), "the archive"
    if needed is not None and needed[0] < end:
        limited_by = needed[1]
        end = max((file.start for file in files if file.start <= needed[0]), default=0)
    return end, limited_by


def read_required(home: Home, kafka: KafkaSection) -> RequiredMessages:
    """Return what the recovery stores and the consumer groups of other programs need. Raises DeployError."""
    missing = missing_stores(home)
    if missing:
        raise DeployError(
            f"no message is deleted from Kafka, because the recovery store of {missing[0]} is missing; restore it with "
            f"`python cli.py rebuild {missing[0]}`"
        )
    stores = [store for name in dataflow_names(home) if name not in _EDGES for store in read_positions(home, name)]
    unused = [store.name for store in stores if store.last_slice_ns < 0]
    if unused:
        raise DeployError(f"no message is deleted from Kafka, because {unused[0]} has not processed a time slice yet")
    offsets = dict(_offsets_of_stores(stores))
    for log, (offset, group) in _offsets_of_groups(kafka).items():
        if log not in offsets or offset < offsets[log][0]:
            offsets[log] = (offset, f"consumer group {group}")
    return RequiredMessages(archive_day(min(store.last_slice_ns for store in stores)), offsets)


def _offsets_of_stores(stores: Iterable[StorePositions]) -> dict[LogName, tuple[int, str]]:
    offsets: dict[LogName, tuple[int, str]] = {}
    for store in stores:
        for log, offset in store.next_offsets.items():
            if log not in offsets or offset < offsets[log][0]:
                offsets[log] = (offset, f"the recovery store of {store.name}")
    return offsets


def _offsets_of_groups(kafka: KafkaSection) -> dict[LogName, tuple[int, str]]:
    """Return the lowest offsets that consumer groups of other programs have committed.

    The platform's own groups are ignored: its recovery stores define what its services need.
    """
    offsets = dict[LogName, tuple[int, str]]()
    logs = [
        TopicPartition(kafka.topic_prefix + topic, partition)
        for topic in kafka.retention
        for partition in topology.partitions_of(topic, kafka.symbol_partitions)
    ]
    try:
        for group in _foreign_groups(kafka):
            for topic, partition, offset in _committed(kafka, group, logs):
                log = (topic.removeprefix(kafka.topic_prefix), partition)
                if log not in offsets or offset < offsets[log][0]:
                    offsets[log] = (offset, group)
    except KafkaException as error:
        raise DeployError(f"cannot read the consumer groups of {kafka.cluster}: {error.args[0].str()}") from error
    return offsets


def _foreign_groups(kafka: KafkaSection) -> list[str]:
    admin = AdminClient(client_config(kafka.cluster, {"log_level": 0}))
    listed = admin_result(admin.list_consumer_groups(request_timeout=_TIMEOUT_S), _TIMEOUT_S).valid
    own = f"{kafka.topic_prefix}platform-"
    return sorted(entry.group_id for entry in listed if not entry.group_id.startswith(own))


def _committed(kafka: KafkaSection, group: str, logs: list[TopicPartition]) -> list[tuple[str, int, int]]:
    """Return topic, partition and offset of each log for which a group has committed one. Raises KafkaException.

    A consumer that never joins the group reads them, because the admin client may end the process
    (`api/metrics/committed_offsets.py`).
    """
    options = {"group.id": group, "enable.auto.commit": False, "log_level": 0}
    with closing(Consumer(client_config(kafka.cluster, options))) as consumer:
        positions = consumer.committed(logs, timeout=_TIMEOUT_S)
    for position in positions:
        if position.error is not None and position.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise KafkaException(position.error)
    return [(one.topic, one.partition, one.offset) for one in positions if one.error is None and one.offset >= 0]


def delete_messages(
    kafka: KafkaSection, archive: TopicArchive, deletions: Sequence[LogDeletion], report: ProgressCallback
) -> None:
    """Read the archived messages of every log, then delete those messages from Kafka.

    Raises Unavailable if an archived file is damaged, before anything is deleted, and DeployError.
    """
    for topic, partition, start, end, _ in deletions:
        report(f"verifying the archive of topic {topic}/{partition}")
        archive.require(topic, partition, start, end)
        for _ in archive.messages(topic, partition, start, end):
            pass
    if not deletions:
        return
    report("deleting archived messages from Kafka")
    admin = AdminClient(client_config(kafka.cluster, {"log_level": 0}))
    logs = [TopicPartition(kafka.topic_prefix + log.topic, log.partition, log.end) for log in deletions]
    try:
        for future in admin.delete_records(logs, operation_timeout=_TIMEOUT_S).values():
            admin_result(future, _TIMEOUT_S)
    except KafkaException as error:
        raise DeployError(f"cannot delete messages from {kafka.cluster}: {error.args[0].str()}") from error
