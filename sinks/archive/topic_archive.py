"""Read archived topics: `FOLDER/TOPIC/PARTITION/DAY-OFFSET.avro`, with a manifest for each log.

A log in the archive continues in Kafka: the archive contains the messages up to an offset, and the topic those from its
first offset on. A reader of the whole log reads the archived messages first, up to the first offset of the topic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

from schemas.errors import Unavailable
from sinks.archive.container_file import ArchivedMessage, file_hash, read_container
from sinks.archive.log_manifest import ArchivedFile, read_manifest

OWNER_FILE = "archive.json"
VERSION = 1
_DAY_S = 86_400
_EPOCH = date(1970, 1, 1)


def archive_day(ts_ns: int) -> str:
    """Return the UTC day of a time slice. Midnight belongs to the day that it ends.

    >>> archive_day(86_400_000_000_000), archive_day(86_400_000_000_001)
    ('1970-01-01', '1970-01-02')
    """
    return (_EPOCH + timedelta(days=max(0, ts_ns - 1) // (_DAY_S * 1_000_000_000))).isoformat()


class ArchiveOwner(NamedTuple):
    """The platform whose topics an archive holds."""

    platform_id: str
    topic_prefix: str
    symbol_partitions: int


class TopicArchive:
    """The archive in `folder`, which need not exist. Methods raise Unavailable if it is damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[tuple[str, int], list[ArchivedFile]] = {}

    def owner(self) -> ArchiveOwner | None:
        """Return the platform of this archive; None if it is empty."""
        path = self.folder / OWNER_FILE
        try:
            tree = json.loads(path.read_text())
            if tree.pop("version") != VERSION:
                raise ValueError("unknown version")
            return ArchiveOwner(**tree)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unavailable(f"the archive file {path} is damaged: {error}; restore it from a copy") from error

    def log_folder(self, topic: str, partition: int) -> Path:
        return self.folder / topic / str(partition)

    def logs(self) -> list[tuple[str, int]]:
        """Return the archived logs, sorted."""
        manifests = self.folder.glob("*/*/manifest.json")
        return sorted((path.parent.parent.name, int(path.parent.name)) for path in manifests)

    def files(self, topic: str, partition: int) -> list[ArchivedFile]:
        """Return the files of a log in order. They are read once."""
        log = (topic, partition)
        if log not in self._files:
            self._files[log] = read_manifest(self.log_folder(topic, partition))
        return self._files[log]

    def end(self, topic: str, partition: int) -> int:
        """Return the offset after the last archived message of a log, 0 without one."""
        files = self.files(topic, partition)
        return files[-1].end if files else 0

    def holds(self, topic: str, partition: int, start: int, end: int) -> bool:
        """Whether the archive has all messages of a log at the offsets [start, end)."""
        files = self.files(topic, partition)
        return start >= end or (bool(files) and files[0].start <= start and files[-1].end >= end)

    def require(self, topic: str, partition: int, start: int, end: int) -> None:
        """Raises Unavailable if the archive lacks a message of a log at the offsets [start, end)."""
        if not self.holds(topic, partition, start, end):
            files = self.files(topic, partition)
            found = f"it holds the offsets {files[0].start} to {files[-1].end}" if files else "it holds none of them"
            raise Unavailable(
                f"topic {topic}/{partition} starts at offset {end}, and the messages from offset {start} on are not in "
                f"the archive {self.folder}: {found}; set kafka.archive_folder to the archive of this platform"
            )

    def start_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """Return the first offset of the file that holds the first message at or after a message timestamp."""
        for file in self.files(topic, partition):
            if file.last_timestamp_ms >= timestamp_ms:
                return file.start
        return None

    def messages(self, topic: str, partition: int, start: int = 0, end: int | None = None) -> Iterator[ArchivedMessage]:
        """Yield the archived messages of a log at the offsets [start, end); without an end, up to the last one.

        The hash of each file is compared before its first message is yielded.
        """
        for file in self.files(topic, partition):
            if file.end <= start or (end is not None and file.start >= end):
                continue
            for message in self.file_messages(topic, partition, file):
                if message.offset >= start and (end is None or message.offset < end):
                    yield message

    def file_messages(self, topic: str, partition: int, file: ArchivedFile) -> Iterator[ArchivedMessage]:
        """Yield the messages of one file. Raises Unavailable if it is not the file that the manifest describes."""
        path = self.log_folder(topic, partition) / file.name
        if (found := file_hash(path)) != file.sha256:
            raise Unavailable(
                f"the archive file {path} is damaged: its SHA-256 starts with {found[:12]}, expected "
                f"{file.sha256[:12]} (manifest); restore it from a copy"
            )
        expected = file.start
        for message in read_container(path):
            if message.offset != expected:
                raise Unavailable(f"the archive file {path} has offset {message.offset}, expected {expected}")
            expected += 1
            yield message
        if expected != file.end:
            raise Unavailable(f"the archive file {path} ends at offset {expected}, expected {file.end} (manifest)")
