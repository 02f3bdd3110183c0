"""A copy of all messages of the topics, those in the archive included, up to the last clock of each topic."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from deploy.archive.day_files import archive_days
from deploy.archive.owner import archive_owner
from deploy.backup.topic_messages import LogReader
from deploy.errors import DeployError
from sinks.archive.log_manifest import MANIFEST_FILE
from sinks.archive.topic_archive import OWNER_FILE, TopicArchive

if TYPE_CHECKING:
    from configs.settings import KafkaSection
    from deploy.supervisor.process_spec import ProgressCallback


@contextmanager
def copied_session(kafka: KafkaSection, report: ProgressCallback) -> Iterator[TopicArchive]:
    """Yield an archive of the whole recording, which is removed afterwards.

    Raises DeployError if the topics do not continue the archive, and Unavailable if it is damaged.
    """
    with TemporaryDirectory(prefix="session-") as name:
        archive = TopicArchive(Path(name) / "recording")
        if kafka.archive is not None and kafka.archive.owner() is not None:
            _copy(kafka.archive, archive)
        with closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
            owner, now = archive_owner(kafka), datetime.now(UTC)
            archive_days(kafka, reader, archive, owner, now=now, report=report, to_last_clock=True)
        yield archive


def _copy(source: TopicArchive, target: TopicArchive) -> None:
    """Copy the files that the manifests list. Only the archived messages are copied, not the archived tables."""
    try:
        for topic, partition in source.logs():
            folder = target.log_folder(topic, partition)
            folder.mkdir(parents=True, mode=0o700)
            for file in (MANIFEST_FILE, *(one.name for one in source.files(topic, partition))):
                _link(source.log_folder(topic, partition) / file, folder / file)
        target.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copy2(source.folder / OWNER_FILE, target.folder / OWNER_FILE)
    except OSError as error:
        raise DeployError(f"cannot copy the archive {source.folder}: {error.strerror or error}") from error


def _link(source: Path, target: Path) -> None:
    """Give a finished file a second name, or copy it to another file system. Manifests and files are replaced whole."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
