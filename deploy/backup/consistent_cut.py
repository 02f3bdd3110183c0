"""Export all topics of a platform so that they fit to recovery stores and database rows that were read before.

A running platform writes on while it is backed up. The order makes the parts fit together: first the recovery stores,
then the database, then the topics. The topics end at a *cut*, one clock for all logs, which is not earlier than any
state in the stores and any row in the database. A restored platform is then in the state of one that crashed at the
cut: each service resumes from its store, reads the rest of its topics again and repeats its records, which their
readers and the tables discard. No record is in a topic whose cause is missing, because the records of a time slice
derive from records up to its clock only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from dataflows.runtime.topology import partitions_of
from deploy.backup.archive import ArchiveWriter
from deploy.backup.manifest import LogContent, log_entry
from deploy.backup.topic_messages import (
    LogReader,
    clock_of,
    export_before,
    export_complete,
    export_to_clock,
)
from deploy.errors import DeployError
from schemas.log_names import LogName
from schemas.records import EXTERNAL_RECORDS, TOPIC_OF

if TYPE_CHECKING:
    from configs.settings import KafkaSection
    from deploy.supervisor.process_spec import ProgressCallback

CLOCK_TIMEOUT_S = 150.0
"""How long a log may take to reach the cut. Clocks of minute bars are 60 s apart."""
PAUSE_S = 0.2
HEADS_TOPIC = "audit-heads"
FEED_SERVICE = "market_data"
_EXTERNAL_TOPICS = frozenset(TOPIC_OF[record_type] for record_type in EXTERNAL_RECORDS)


class TopicsBeforeDatabase(NamedTuple):
    """What must be known before the database is read: the end of the audit heads, which the database must contain."""

    heads_end: int


def topics_before_database(kafka: KafkaSection) -> TopicsBeforeDatabase:
    with closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
        exists = HEADS_TOPIC in reader.existing_topics()
        return TopicsBeforeDatabase(reader.offsets(HEADS_TOPIC, 0).end if exists else 0)


def export_topics(
    kafka: KafkaSection,
    archive: ArchiveWriter,
    before: TopicsBeforeDatabase,
    *,
    is_running: bool,
    newest_ns: int,
    report: ProgressCallback,
    timeout_s: float = CLOCK_TIMEOUT_S,
) -> tuple[int | None, dict[LogName, LogContent]]:
    """Add one entry per log. Returns the cut (ns), None if the platform is stopped, and the content of each log.

    `newest_ns` is the newest time of market data in the database. Raises DeployError if a log does not reach the cut.
    """
    with closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
        logs = existing_logs(kafka, reader)
        cut_ns = _find_cut(kafka, reader, logs, newest_ns, timeout_s, report) if is_running else None
        contents = {}
        # Logs with clocks first: when all of them have reached the cut, the others have their records up to the cut.
        for topic, partition in sorted(logs, key=lambda log: not has_clock(kafka, log[0])):
            report(f"reading topic {topic}/{partition}")
            with archive.entry(log_entry(topic, partition)) as write:
                if topic == HEADS_TOPIC:
                    content = export_complete(reader, topic, partition, write, before.heads_end)
                elif cut_ns is None:
                    content = export_complete(reader, topic, partition, write)
                elif has_clock(kafka, topic):
                    content = _export_to_cut(kafka, reader, (topic, partition), cut_ns, write, timeout_s)
                else:
                    content = export_before(reader, topic, partition, cut_ns, write)
            contents[topic, partition] = content
    return cut_ns, contents


def existing_logs(kafka: KafkaSection, reader: LogReader) -> list[LogName]:
    existing = reader.existing_topics()
    return [
        (topic, partition)
        for topic in kafka.topics
        if topic in existing
        for partition in partitions_of(topic, kafka.symbol_partitions)
    ]


def has_clock(kafka: KafkaSection, topic: str) -> bool:
    return kafka.topics[topic].owner is not None


def _export_to_cut(
    kafka: KafkaSection, reader: LogReader, log: LogName, cut_ns: int, write: object, timeout_s: float
) -> LogContent:
    topic, partition = log
    try:
        return export_to_clock(reader, topic, partition, cut_ns, write, timeout_s=timeout_s)  # type: ignore[arg-type]
    except DeployError as error:
        raise DeployError(
            f"topic {topic} does not reach the clock {cut_ns} of market_data, because {kafka.topics[topic].owner} or a "
            "service before it processes nothing; make it healthy, or stop the platform and back up the stopped "
            f"platform ({error})"
        ) from error


def _find_cut(
    kafka: KafkaSection,
    reader: LogReader,
    logs: list[LogName],
    newest_ns: int,
    timeout_s: float,
    report: ProgressCallback,
) -> int:
    """Return a clock of market_data that everything read so far is not later than.

    Records that users and sources wrote after the last clock of their log take effect at the next clock, so the cut is
    then that clock.
    """
    fed = [log for log in logs if kafka.topics[log[0]].owner == FEED_SERVICE]
    clocked = [log for log in logs if has_clock(kafka, log[0])]
    # Time slices come from market_data, so none of the other services is ahead of it.
    at_least_ns = max([newest_ns, *(reader.last_clock_ns(*log) for log in clocked)])
    ends = {log: reader.offsets(*log) for log in fed if log[0] in _EXTERNAL_TOPICS}
    deadline = time.monotonic() + timeout_s
    while True:
        cut_ns = max(reader.last_clock_ns(*log) for log in fed)
        pending = _log_with_pending_records(reader, ends, cut_ns)
        if cut_ns >= at_least_ns and pending is None:
            return cut_ns
        if time.monotonic() > deadline:
            what = f"topic {pending}" if pending is not None else "the database"
            raise DeployError(
                f"{what} has records after the last clock of market_data ({cut_ns}), which has not written another "
                f"one within {timeout_s:.0f} s; stop the platform and back up the stopped platform"
            )
        report("waiting for the next clock of market_data")
        time.sleep(PAUSE_S)


def _log_with_pending_records(reader: LogReader, ends: Mapping[LogName, LogContent], cut_ns: int) -> str | None:
    """Return the first topic that has, before its `end`, a record after its last clock at or before the cut."""
    for (topic, partition), content in ends.items():
        if content.end == content.start:
            continue
        last = content.end - 1
        _, message = next(reader.messages(topic, partition, last, content.end))
        if clock_of(message.value) is not None:
            continue
        clocks = (
            clock_of(later.value)
            for _, later in reader.messages(topic, partition, content.end, reader.offsets(topic, partition).end)
        )
        if not any(clock is not None and clock <= cut_ns for clock in clocks):
            return topic
    return None
