"""Archive complete days of the topics and old months of the tables, then delete them from Kafka and PostgreSQL."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.archive.day_files import WrittenDays, archive_days
from deploy.archive.message_deletion import (
    NOTHING_REQUIRED,
    LogDeletion,
    delete_messages,
    plan_deletions,
    read_required,
)
from deploy.archive.owner import archive_owner
from deploy.archive.table_partitions import PartitionDrop, archive_partitions
from deploy.backup.topic_messages import LogReader
from deploy.errors import DeployError
from deploy.home import PRIVATE_UMASK, Home

if TYPE_CHECKING:
    from configs.settings import KafkaSection, Settings
    from deploy.supervisor.process_spec import ProgressCallback
    from sinks.archive.topic_archive import TopicArchive


_CLOSED_DAYS = 10
"""More days than an exchange closes in a row."""


class ArchiveResult(NamedTuple):
    """What was archived and deleted.

    `undeleted_reason` explains why nothing was deleted from Kafka although days exceed the retention, and
    `tables_reason` why no table was archived.
    """

    folder: Path
    written: WrittenDays
    deletions: list[LogDeletion]
    undeleted_reason: str = ""
    partitions: Sequence[PartitionDrop] = ()
    tables_reason: str = ""

    def as_tree(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            **self.written._asdict(),
            "cuts": [one._asdict() for one in self.deletions],
            "uncut_reason": self.undeleted_reason,
            "partitions": [one._asdict() for one in self.partitions],
            "tables_reason": self.tables_reason,
        }


def create_archive(
    home: Home,
    settings: Settings,
    *,
    database_url: str | None,
    delete: bool,
    dry_run: bool,
    now: datetime,
    report: ProgressCallback,
) -> ArchiveResult:
    """Archive complete days of the topics and delete old ones from Kafka, then archive old months of the tables.

    Without `database_url`, no table is archived. Raises DeployError if something cannot be archived, and Unavailable if
    the archive is damaged.
    """
    kafka = settings.kafka
    archive, table_archive = kafka.archive, kafka.table_archive
    assert archive is not None and table_archive is not None, "the settings of a state folder have an archive folder"
    with _exclusive(home), closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
        written = archive_days(kafka, reader, archive, archive_owner(kafka), now=now, report=report)
        result = ArchiveResult(archive.folder, written, [])
        if not delete:
            return result
        try:
            deletions = _delete_days(home, kafka, reader, archive, dry_run=dry_run, report=report)
            result = result._replace(deletions=deletions)
        except DeployError as error:
            result = result._replace(undeleted_reason=str(error))
        if database_url is None:
            return result._replace(tables_reason="PostgreSQL does not run; start the platform to archive its tables")
        partitions = archive_partitions(
            database_url,
            table_archive,
            table_retention(settings),
            now_ns=int(now.timestamp()) * 1_000_000_000,
            dry_run=dry_run,
            report=report,
        )
    return result._replace(partitions=partitions)


def table_retention(settings: Settings) -> dict[str, int]:
    """Return how many days of each table stay in the database.

    Bars stay as long as the check of an order in the API needs them for the limits of risk that are on.
    """
    retention, limits = dict(settings.database.postgres.retention), settings.risk()
    trading_days = limits.volume_days if limits.is_enabled("max_volume_share") else 0
    if limits.is_enabled("max_expected_shortfall"):
        trading_days = max(trading_days, limits.shortfall_days + 1)
    if "bars" in retention and trading_days:
        retention["bars"] = max(retention["bars"], trading_days * 3 // 2 + _CLOSED_DAYS)
    return retention


def _delete_days(
    home: Home,
    kafka: KafkaSection,
    reader: LogReader,
    archive: TopicArchive,
    *,
    dry_run: bool,
    report: ProgressCallback,
) -> list[LogDeletion]:
    if not kafka.retention or not plan_deletions(kafka, reader, archive, NOTHING_REQUIRED):
        return []
    deletions = plan_deletions(kafka, reader, archive, read_required(home, kafka))
    if not dry_run:
        delete_messages(kafka, archive, deletions, report)
    return deletions


@contextmanager
def _exclusive(home: Home) -> Iterator[None]:
    """Raises DeployError while another command archives. Only the owner of the state folder can read the new files."""
    with (home.run / "archive.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeployError(f"another command archives the topics of {home.root}; try again later") from error
        previous = os.umask(PRIVATE_UMASK)
        try:
            yield
        finally:
            os.umask(previous)
