"""Archive the complete days of the topics, then delete old days from Kafka."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
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
from deploy.backup.topic_messages import LogReader
from deploy.errors import DeployError
from deploy.home import PRIVATE_UMASK, Home

if TYPE_CHECKING:
    from configs.settings import KafkaSection
    from deploy.supervisor.process_spec import ProgressCallback


class ArchiveResult(NamedTuple):
    """What was archived and deleted. `undeleted_reason` explains why nothing was deleted although days exceed the
    retention.
    """

    folder: Path
    written: WrittenDays
    deletions: list[LogDeletion]
    undeleted_reason: str = ""

    def as_tree(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            **self.written._asdict(),
            "cuts": [one._asdict() for one in self.deletions],
            "uncut_reason": self.undeleted_reason,
        }


def create_archive(
    home: Home,
    kafka: KafkaSection,
    *,
    delete: bool,
    dry_run: bool,
    now: datetime,
    report: ProgressCallback,
) -> ArchiveResult:
    """Archive complete days, then delete old ones from Kafka.

    Raises DeployError if the topics cannot be archived, and Unavailable if the archive is damaged.
    """
    archive = kafka.archive
    assert archive is not None, "the settings of a state folder have an archive folder"
    with _exclusive(home), closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
        written = archive_days(kafka, reader, archive, archive_owner(kafka), now=now, report=report)
        if not delete or not kafka.retention:
            return ArchiveResult(archive.folder, written, [])
        if not plan_deletions(kafka, reader, archive, NOTHING_REQUIRED):
            return ArchiveResult(archive.folder, written, [])
        try:
            required = read_required(home, kafka)
        except DeployError as error:
            return ArchiveResult(archive.folder, written, [], str(error))
        deletions = plan_deletions(kafka, reader, archive, required)
        if not dry_run:
            delete_messages(kafka, archive, deletions, report)
    return ArchiveResult(archive.folder, written, deletions)


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
