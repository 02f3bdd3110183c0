"""Write the complete days of the topics to the archive.

The day of a message is that of the first clock at or after it in its log, because the message takes effect there. A day
is complete when its log has a clock of a later day. A log without clocks has the days of its message timestamps, and a
day is complete when it has passed.

A file gets its name when it is complete and durable. Files that the manifest does not list are ignored. If a run is
killed, no message is lost or archived twice: the next run continues at the offset at which the manifest ends.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from deploy.archive.owner import require_owner
from deploy.backup.consistent_cut import existing_logs, has_clock
from deploy.backup.topic_messages import LogReader, StoredMessage, clock_of
from deploy.errors import DeployError
from schemas.codec import SCHEMA_IDS, load_older_schemas, schema_json
from schemas.log_names import LogName
from sinks.archive.container_file import ArchivedMessage, ContainerWriter, file_hash
from sinks.archive.log_manifest import ArchivedFile, sync_folder, write_manifest
from sinks.archive.topic_archive import OWNER_FILE, VERSION, ArchiveOwner, TopicArchive, archive_day

if TYPE_CHECKING:
    from configs.settings import KafkaSection
    from deploy.supervisor.process_spec import ProgressCallback

_PENDING_MAX = 100_000
"""Most messages without a clock that are held in memory."""


class WrittenDays(NamedTuple):
    """What one run has added to the archive."""

    files: int
    messages: int
    bytes: int


def archive_days(
    kafka: KafkaSection,
    reader: LogReader,
    archive: TopicArchive,
    owner: ArchiveOwner,
    *,
    now: datetime,
    report: ProgressCallback,
    to_last_clock: bool = False,
) -> WrittenDays:
    """Add the complete days of every topic that are not in the archive yet.

    With `to_last_clock`, the incomplete day up to the last clock of each topic is added too. Only a copy of an archive
    is written so, because it cannot be continued.

    Raises DeployError if the archive belongs to another platform or a topic does not continue it, before it writes to
    the archived log, and Unavailable if the archive is damaged.
    """
    _require_owner(archive, owner)
    files = messages = size = 0
    # Topics without clocks last: on a running platform, they then have all that the other topics refer to.
    for topic, partition in sorted(existing_logs(kafka, reader), key=lambda log: not has_clock(kafka, log[0])):
        report(f"archiving topic {topic}/{partition}")
        archiver = _LogArchiver(archive, (topic, partition), _metadata(kafka, topic, partition))
        by_timestamp: SplitDays = partial(_days_by_timestamp, now=now)
        split = _days_by_clock if has_clock(kafka, topic) else by_timestamp
        archiver.run(reader, split, incomplete_day=to_last_clock)
        files += len(archiver.added)
        messages += sum(file.end - file.start for file in archiver.added)
        size += sum(file.bytes for file in archiver.added)
    return WrittenDays(files, messages, size)


def _require_owner(archive: TopicArchive, owner: ArchiveOwner) -> None:
    """Mark a new archive as that of this platform. Raises DeployError if it is that of another one."""
    require_owner(archive, owner)
    if archive.owner() is not None:
        return
    try:
        archive.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(archive.folder.iterdir()):
            raise DeployError(
                f"the folder {archive.folder} is not empty and is not an archive; "
                "set kafka.archive_folder to an empty folder or to the archive of this platform"
            )
        temporary = archive.folder / f".{OWNER_FILE}.tmp"
        temporary.write_text(json.dumps({"version": VERSION, **owner._asdict()}, indent=1))
        temporary.replace(archive.folder / OWNER_FILE)
        sync_folder(archive.folder)
    except OSError as error:
        raise DeployError(f"cannot create the archive {archive.folder}: {error.strerror}") from error


def _metadata(kafka: KafkaSection, topic: str, partition: int) -> dict[str, str]:
    """Return the metadata of a log's files: the log, and the schemas of the records that its messages may hold."""
    names = set(kafka.topics[topic].schemas)
    schemas = {str(number): schema_json(kind) for kind, number in SCHEMA_IDS.items() if kind.__name__ in names}
    older = {str(number): text for number, (kind, text) in load_older_schemas().items() if kind.__name__ in names}
    return {"topic": topic, "partition": str(partition), "writer.schemas": json.dumps(older | schemas)}


Pair = tuple[int, StoredMessage]
Batch = tuple[str, list[Pair]]
"""A day, and the next messages of that day. A batch without messages only completes the day before."""
SplitDays = Callable[[Iterator[Pair], str], Iterator[Batch]]
"""Splits the messages of a log after its last archived day."""


def _days_by_clock(pairs: Iterator[Pair], last_day: str) -> Iterator[Batch]:
    """Yield the messages up to each clock with their day. Messages after the last clock have no day yet.

    If very many messages precede a clock, as in a topic that had no clocks in an earlier release, their timestamps
    define their days.
    """
    day, pending = last_day, list[Pair]()
    for offset, message in pairs:
        pending.append((offset, message))
        clock_ns = clock_of(message.value)
        if clock_ns is not None:
            day = max(day, archive_day(clock_ns))  # a restarted feed repeats older clocks
            yield day, pending
            pending = []
        elif len(pending) >= _PENDING_MAX:
            day = max(day, _day_of(message.timestamp_ms))
            yield day, pending
            pending = []


def _days_by_timestamp(pairs: Iterator[Pair], last_day: str, *, now: datetime) -> Iterator[Batch]:
    day, today = last_day, now.astimezone(UTC).date().isoformat()
    for offset, message in pairs:
        day = max(day, _day_of(message.timestamp_ms))
        yield day, [(offset, message)]
    if day < today:
        yield today, []


def _day_of(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).date().isoformat()


class _LogArchiver:
    """Adds days to one archived log. `added` lists the files that it has written."""

    def __init__(self, archive: TopicArchive, log: LogName, metadata: dict[str, str]) -> None:
        self._archive, self._log, self._metadata = archive, log, metadata
        self._folder = archive.log_folder(*log)
        self._files = list(archive.files(*log))
        self._open: _OpenFile | None = None
        self.added: list[ArchivedFile] = []

    def run(self, reader: LogReader, days: SplitDays, *, incomplete_day: bool) -> None:
        topic, partition = self._log
        found = reader.offsets(topic, partition)
        start = self._files[-1].end if self._files else found.start
        if self._files:
            self._require_continuation(reader, start, found.start, found.end)
        last_day = self._files[-1].day if self._files else ""
        try:
            for day, pairs in days(reader.messages(topic, partition, start, found.end), last_day):
                if self._open is not None and self._open.day != day:
                    self._commit(self._open)
                for offset, message in pairs:
                    self._add(day, ArchivedMessage(offset, *message))
            if incomplete_day and self._open is not None:
                self._commit(self._open)
        except OSError as error:
            raise DeployError(f"cannot write to the archive {self._folder}: {error.strerror}") from error
        finally:
            if self._open is not None:
                self._open.discard()

    def _require_continuation(self, reader: LogReader, archived_end: int, first: int, end: int) -> None:
        """Raises DeployError if the topic does not continue the archived log."""
        topic, partition = self._log
        name = f"topic {topic}/{partition}"
        if first > archived_end:
            raise DeployError(
                f"{name} starts at offset {first}, but the archive ends at {archived_end}: the messages between them "
                "were deleted before they were archived; restore the topic from a backup"
            )
        if end < archived_end:
            raise DeployError(
                f"{name} ends at offset {end}, but the archive ends at {archived_end}: the topic was restored from an "
                f"older backup; move the archive {self._archive.folder} to another place, and set "
                "kafka.archive_folder to a copy of the archive that was made with that backup"
            )
        if first < archived_end:
            archived = deque(self._archive.file_messages(topic, partition, self._files[-1]), maxlen=1).pop()
            _, message = next(reader.messages(topic, partition, archived_end - 1, archived_end))
            if archived != ArchivedMessage(archived_end - 1, *_comparable(message)):
                raise DeployError(
                    f"{name} differs from the archive at offset {archived_end - 1}; set kafka.archive_folder to the "
                    "archive of this platform"
                )

    def _add(self, day: str, message: ArchivedMessage) -> None:
        if self._open is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            metadata = {**self._metadata, "day": day}
            self._open = _OpenFile(self._folder, day, message.offset, metadata)
        expected = self._open.end
        if message.offset != expected:
            topic, partition = self._log
            raise DeployError(
                f"topic {topic}/{partition} has no message at offset {expected} (the next one is {message.offset}); "
                "the platform's topics must be neither compacted nor transactional"
            )
        self._open.add(message)

    def _commit(self, file: _OpenFile) -> None:
        """Complete a file: durable content, then its name, then the manifest."""
        added = file.commit()
        self._open = None
        self._files.append(added)
        write_manifest(self._folder, self._files)
        self._archive.files(*self._log)[:] = self._files
        self.added.append(added)


def _comparable(message: StoredMessage) -> StoredMessage:
    return message._replace(headers=tuple((name, content) for name, content in message.headers))


class _OpenFile:
    """A file of one day that is still written."""

    def __init__(self, folder: Path, day: str, start: int, metadata: dict[str, str]) -> None:
        self.day, self.start, self.end = day, start, start
        self._path = folder / f"{day}-{start:012d}.avro"
        self._temporary = folder / f".{self._path.name}.tmp"
        self._file: IO[bytes] = self._temporary.open("wb")
        self._writer = ContainerWriter(self._file, metadata)
        self._last_timestamp_ms = 0

    def add(self, message: ArchivedMessage) -> None:
        self._writer.add(message)
        self.end = message.offset + 1
        self._last_timestamp_ms = max(self._last_timestamp_ms, message.timestamp_ms)

    def commit(self) -> ArchivedFile:
        self._writer.flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        described = ArchivedFile(
            day=self.day,
            name=self._path.name,
            start=self.start,
            end=self.end,
            bytes=self._temporary.stat().st_size,
            last_timestamp_ms=self._last_timestamp_ms,
            sha256=file_hash(self._temporary),
        )
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)
        return described

    def discard(self) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)
