"""Archive the complete days of the topics, then cut the topics."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.archive.cut_topics import NOTHING_NEEDED, CutLog, cut, plan_cuts, read_needs
from deploy.archive.day_files import WrittenDays, archive_days
from deploy.archive.owner import archive_owner
from deploy.backup.topic_messages import LogReader
from deploy.errors import DeployError
from deploy.home import PRIVATE_UMASK, Home

if TYPE_CHECKING:
    from configs.settings import KafkaSection
    from deploy.supervisor.process_spec import ProgressCallback


class ArchiveResult(NamedTuple):
    """What was archived and deleted. `uncut_reason` explains why nothing was deleted although days exceed the
    retention.
    """

    folder: Path
    written: WrittenDays
    cuts: list[CutLog]
    uncut_reason: str = ""

    def as_tree(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            **self.written._asdict(),
            "cuts": [log._asdict() for log in self.cuts],
            "uncut_reason": self.uncut_reason,
        }


def create_archive(
    home: Home,
    kafka: KafkaSection,
    *,
    cut_topics: bool,
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
        if not cut_topics or not kafka.retention:
            return ArchiveResult(archive.folder, written, [])
        if not plan_cuts(kafka, reader, archive, NOTHING_NEEDED):
            return ArchiveResult(archive.folder, written, [])
        try:
            needs = read_needs(home, kafka)
        except DeployError as error:
            return ArchiveResult(archive.folder, written, [], str(error))
        cuts = plan_cuts(kafka, reader, archive, needs)
        if not dry_run:
            cut(kafka, archive, cuts, report)
    return ArchiveResult(archive.folder, written, cuts)


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
