"""Write archived days to topics of their own, `archived-TOPIC`, which any Kafka client can read.

The messages keep their offsets, timestamps, keys and headers. The platform does not read these topics.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from dataflows.runtime import topology
from deploy.backup.manifest import LogContent
from deploy.backup.topic_messages import LogReader, LogWriter, StoredMessage
from deploy.errors import DeployError
from deploy.security.kafka_rights import RESTORED_PREFIX
from deploy.supervisor.topics import TopicSpec, create_topics
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean
from sinks.admin_operations import delete_topics
from sinks.archive.topic_archive import TopicArchive

if TYPE_CHECKING:
    from configs.settings import KafkaSection
    from deploy.supervisor.process_spec import ProgressCallback


class ArchivedPeriod(NamedTuple):
    """Topics (all if the tuple is empty) and UTC days, including the first and the last; None is an open end."""

    topics: tuple[str, ...] = ()
    first_day: str | None = None
    last_day: str | None = None

    def contains(self, day: str) -> bool:
        return (self.first_day is None or day >= self.first_day) and (self.last_day is None or day <= self.last_day)


def restore_days(
    kafka: KafkaSection, archive: TopicArchive, period: ArchivedPeriod, *, replace: bool, report: ProgressCallback
) -> dict[str, int]:
    """Create and fill the topics. Returns the number of messages by name of the topic in Kafka.

    All files are compared with their hashes first. Raises BadInput if the archive lacks a topic or has none of the
    days, DeployError if a topic exists and `replace` is false, and Unavailable if a file is damaged. Nothing is changed
    in these cases. If writing fails later, the new topics are deleted again.
    """
    spans = _spans(archive, period)
    for (topic, partition), (start, end) in spans.items():
        report(f"verifying the archive of topic {topic}/{partition}")
        for _ in archive.messages(topic, partition, start, end):
            pass
    prefix = kafka.topic_prefix + RESTORED_PREFIX
    names = {topic: prefix + topic for topic, _ in spans}
    with closing(LogReader(kafka.cluster, "")) as reader:
        existing = sorted(reader.existing_topics() & set(names.values()))
    if existing and not replace:
        raise DeployError(
            f"topic {existing[0]} already exists; use --replace to delete the topics of an earlier restore first"
        )
    if existing:
        delete_topics(kafka.cluster, existing)
    counts = dict.fromkeys(names.values(), 0)
    try:
        specs = [
            TopicSpec(name, len(topology.partitions_of(topic, kafka.symbol_partitions)))
            for topic, name in names.items()
        ]
        create_topics(kafka.cluster, specs, replication=kafka.replication)
        with closing(LogWriter(kafka.cluster, prefix)) as writer:
            for (topic, partition), (start, end) in spans.items():
                report(f"writing topic {names[topic]}/{partition}")
                writer.fill(topic, partition, LogContent(start, end), _stored(archive, topic, partition, start, end))
                counts[names[topic]] += end - start
    except BaseException:
        delete_topics(kafka.cluster, list(names.values()))
        raise
    return counts


def _spans(archive: TopicArchive, period: ArchivedPeriod) -> dict[tuple[str, int], tuple[int, int]]:
    """Return the offsets [start, end) of the period in each archived log."""
    logs = archive.logs()
    if not logs:
        raise BadInput(f"the archive {archive.folder} is empty; fill it with `python cli.py archive create`")
    known = sorted({topic for topic, _ in logs})
    for topic in period.topics:
        if topic not in known:
            raise BadInput(f"the archive has no topic {topic!r}{did_you_mean(topic, known)}")
    spans = {}
    for topic, partition in logs:
        if period.topics and topic not in period.topics:
            continue
        files = [file for file in archive.files(topic, partition) if period.contains(file.day)]
        if files:
            spans[topic, partition] = (files[0].start, files[-1].end)
    if not spans:
        raise BadInput("the archive has no messages of these days; list them with `python cli.py archive list`")
    return spans


def _stored(archive: TopicArchive, topic: str, partition: int, start: int, end: int) -> Iterator[StoredMessage]:
    for message in archive.messages(topic, partition, start, end):
        yield StoredMessage(message.timestamp_ms, message.key, message.value, message.headers)
