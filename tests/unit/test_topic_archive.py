"""The archive of the topics: its files, its days, and what a damaged byte or a killed run does to it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import fastavro
import fastavro._read_py
import pyarrow
import pytest

from configs.settings import KafkaSection, load_settings
from deploy.archive import day_files
from deploy.archive.day_files import archive_days
from deploy.archive.message_deletion import deletion_end
from deploy.backup.manifest import LogContent
from deploy.backup.topic_messages import LogReader, StoredMessage
from deploy.errors import DeployError
from schemas.codec import SCHEMA_IDS, encode
from schemas.errors import BadInput, Unavailable
from schemas.records import Bar, Clock
from sinks.archive import container_file
from sinks.archive.container_file import ArchivedMessage, ContainerWriter, read_container
from sinks.archive.topic_archive import ArchiveOwner, TopicArchive, archive_day
from tests.builders import bar

DAY_NS = 86_400_000_000_000
START_NS = 19_723 * DAY_NS  # 2024-01-01
NOW = datetime(2024, 1, 9, 12, tzinfo=UTC)
OWNER = ArchiveOwner("platform-1", "", 4)
SILENT = lambda line: None  # noqa: E731 - a progress callback


class MemoryLogs:
    """Logs in memory with the methods of `LogReader`."""

    def __init__(self, logs: dict[tuple[str, int], list[StoredMessage]]) -> None:
        self.logs = logs
        self.starts: dict[tuple[str, int], int] = {}
        self.messages_read = 0

    def existing_topics(self) -> set[str]:
        return {topic for topic, _ in self.logs}

    def offsets(self, topic: str, partition: int) -> LogContent:
        log = (topic, partition)
        return LogContent(self.starts.get(log, 0), len(self.logs.get(log, ())))

    def messages(self, topic: str, partition: int, start: int, end: int) -> Iterator[tuple[int, StoredMessage]]:
        assert start >= self.starts.get((topic, partition), 0)
        log = self.logs.get((topic, partition), [])
        for offset in range(start, end):
            self.messages_read += 1
            yield offset, log[offset]


def message(record: Bar | Clock | bytes, timestamp_ms: int = 0) -> StoredMessage:
    if isinstance(record, bytes):
        return StoredMessage(timestamp_ms, b"key", record, (("source", b"test"), ("empty", None)))
    return StoredMessage(timestamp_ms or record.ts_ns // 1_000_000, None, encode(record))


def clock(day: int, minute: int = 0) -> StoredMessage:
    return message(Clock(START_NS + day * DAY_NS + minute * 60_000_000_000, "market_data@1"))


def bars_of_days(days: int) -> list[StoredMessage]:
    """Two bars and clocks a day; the second clock of a day is at midnight, and the log ends within the last day."""
    log: list[StoredMessage] = []
    for day in range(days):
        for seq, minute in ((2 * day + 1, 870), (2 * day + 2, 1440)):
            ts_ns = START_NS + day * DAY_NS + minute * 60_000_000_000
            log += [message(bar("AAPL", seq, ts_ns, 100.0 + seq)), clock(day, minute)]
    return log


@pytest.fixture
def kafka() -> KafkaSection:
    return load_settings(environment={}).kafka


@pytest.fixture
def archive(tmp_path: Path) -> TopicArchive:
    return TopicArchive(tmp_path / "archive")


def run(kafka: KafkaSection, logs: MemoryLogs, archive: TopicArchive, owner: ArchiveOwner = OWNER) -> Any:
    return archive_days(kafka, cast("LogReader", logs), archive, owner, now=NOW, report=SILENT)


def archived(archive: TopicArchive, topic: str, partition: int = 0) -> list[StoredMessage]:
    return [StoredMessage(*entry[1:]) for entry in TopicArchive(archive.folder).messages(topic, partition)]


def test_other_avro_libraries_read_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of fastavro, whose codec for zstd is replaced: the package that it needs is not installed."""

    def read_zstandard(decoder: Any) -> io.BytesIO:
        with pyarrow.CompressedInputStream(pyarrow.BufferReader(decoder.read_bytes()), "zstd") as stream:
            return io.BytesIO(stream.read())

    monkeypatch.setitem(fastavro._read_py.BLOCK_READERS, "zstandard", read_zstandard)
    monkeypatch.setattr(container_file, "_BLOCK_BYTES", 1000)  # several blocks
    path, value = tmp_path / "day.avro", encode(bar("AAPL", 1, START_NS, 101.5))
    messages = [ArchivedMessage(n, 1000 + n, b"AAPL", value, (("h", None),)) for n in range(7, 200)]
    messages.append(ArchivedMessage(200, 0, None, None))
    with path.open("wb") as file:
        writer = ContainerWriter(file, {"topic": "market-bars"})
        for entry in messages:
            writer.add(entry)
        writer.flush()
    with path.open("rb") as source:
        read = fastavro._read_py.reader(source)
        assert read.metadata["topic"] == "market-bars"
        rows = [cast("dict[str, Any]", row) for row in read]
    headers = [tuple((header["name"], header["value"]) for header in row.pop("headers")) for row in rows]
    found = [ArchivedMessage(**row, headers=names) for row, names in zip(rows, headers, strict=True)]
    assert found == messages
    assert list(read_container(path)) == messages


def test_complete_days_are_archived_and_the_last_day_is_not(kafka: KafkaSection, archive: TopicArchive) -> None:
    log = bars_of_days(3)
    written = run(kafka, MemoryLogs({("market-bars", 0): log}), archive)
    assert (written.files, written.messages) == (2, 8)
    assert [(file.day, file.start, file.end) for file in archive.files("market-bars", 0)] == [
        ("2024-01-01", 0, 4),
        ("2024-01-02", 4, 8),
    ]
    assert archived(archive, "market-bars") == log[:8]


def test_a_later_run_continues_where_the_archive_ends(kafka: KafkaSection, archive: TopicArchive) -> None:
    log = bars_of_days(5)
    run(kafka, MemoryLogs({("market-bars", 0): log[:10]}), archive)
    logs = MemoryLogs({("market-bars", 0): log})
    logs.starts["market-bars", 0] = 7  # Kafka has deleted most of what is archived
    written = run(kafka, logs, TopicArchive(archive.folder))
    assert written.messages == 8 and archived(archive, "market-bars") == log[:16]
    assert run(kafka, logs, TopicArchive(archive.folder)).files == 0


@pytest.mark.parametrize(
    ("sessions", "symbols"), [(40, 3), pytest.param(252, 100, marks=pytest.mark.long)], ids=["two months", "a year"]
)
def test_the_work_of_a_night_is_that_of_its_day(
    kafka: KafkaSection, archive: TopicArchive, sessions: int, symbols: int
) -> None:
    """20 bars of each symbol a session, with a retention of 30 days: what a run reads and writes does not grow."""
    log: list[StoredMessage] = []
    logs = MemoryLogs({("market-bars", 0): log})
    read, size, retained = [], [], []
    for day in range(sessions):
        for minute in range(871, 891):
            ts_ns = START_NS + day * DAY_NS + minute * 60_000_000_000
            seq = 20 * day + minute - 870
            log += [message(bar(f"S{n:03}", seq, ts_ns, 100.0 + (seq * n) % 7)) for n in range(symbols)]
            log.append(clock(day, minute))
        logs.messages_read = 0
        written = run(kafka, logs, archive)
        read.append(logs.messages_read)
        size.append(written.bytes)
        first_retained_day = archive_day(START_NS + (day - 29) * DAY_NS + 1)
        logs.starts["market-bars", 0], _ = deletion_end(
            archive.files("market-bars", 0), first_retained_day, "9999", None
        )
        retained.append(len(log) - logs.starts["market-bars", 0])
    a_day = 20 * (symbols + 1)
    # The day before is complete and the new one is not, so both are read; and one message that is archived already.
    assert max(read[2:]) == min(read[2:]) == 2 * a_day + 1
    assert max(size[2:]) < 1.1 * min(size[2:])
    assert max(retained) == 30 * a_day
    assert archive.end("market-bars", 0) == len(log) - a_day


def test_repeated_clocks_of_a_restarted_feed_stay_in_order(kafka: KafkaSection, archive: TopicArchive) -> None:
    log = bars_of_days(2)
    log = [*log, clock(0, 870), clock(1, 1440), *bars_of_days(4)[8:]]
    run(kafka, MemoryLogs({("market-bars", 0): log}), archive)
    assert archived(archive, "market-bars") == log[:14]


def test_many_messages_without_a_clock_are_not_held_in_memory(
    kafka: KafkaSection, archive: TopicArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic that had no clocks in an earlier release."""
    monkeypatch.setattr(day_files, "_PENDING_MAX", 4)
    trades = [message(b"trade", (START_NS + n * DAY_NS // 4) // 1_000_000) for n in range(12)]
    log = [*trades, clock(3, 870), clock(4, 870), clock(5, 870)]
    run(kafka, MemoryLogs({("market-trades", 0): log}), archive)
    assert archived(archive, "market-trades") == log[:14]
    assert [file.day for file in archive.files("market-trades", 0)] == [f"2024-01-0{day}" for day in range(1, 6)]


def test_a_log_without_clocks_has_the_days_of_its_timestamps(kafka: KafkaSection, archive: TopicArchive) -> None:
    today_ms = int(NOW.timestamp() * 1000)
    log = [message(b"malformed", today_ms - days * 86_400_000) for days in (3, 3, 2, 0)]
    run(kafka, MemoryLogs({("dead-letters", 0): log}), archive)
    assert [file.day for file in archive.files("dead-letters", 0)] == ["2024-01-06", "2024-01-07"]
    assert archived(archive, "dead-letters") == log[:3]
    run(kafka, MemoryLogs({("dead-letters", 0): log[:3]}), TopicArchive(archive.folder))
    assert archived(archive, "dead-letters") == log[:3]


@pytest.mark.parametrize("step", ["sync_folder", "write_manifest"])
def test_a_killed_run_loses_and_repeats_nothing(
    kafka: KafkaSection, archive: TopicArchive, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The run ends after a file has its name, before the folder is durable or before the manifest lists it."""
    log, calls = bars_of_days(4), [0]

    original = getattr(day_files, step)

    def until_killed(*arguments: object) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(day_files, step, until_killed)
        with pytest.raises(KeyboardInterrupt):
            run(kafka, MemoryLogs({("market-bars", 0): log}), archive)
    run(kafka, MemoryLogs({("market-bars", 0): log}), TopicArchive(archive.folder))
    assert archived(archive, "market-bars") == log[:12]
    assert not list(archive.folder.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["2024-01-01-000000000000.avro", "manifest.json"])
def test_one_changed_byte_is_found_before_a_message_is_used(
    kafka: KafkaSection, archive: TopicArchive, name: str
) -> None:
    run(kafka, MemoryLogs({("market-bars", 0): bars_of_days(3)}), archive)
    path = archive.log_folder("market-bars", 0) / name
    original = path.read_bytes()
    for position in (0, len(original) // 2, len(original) - 2):
        path.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
        with pytest.raises(Unavailable, match="damaged"):
            next(TopicArchive(archive.folder).messages("market-bars", 0))
    path.write_bytes(original)
    assert len(archived(archive, "market-bars")) == 8


@pytest.mark.parametrize("cut", [1, 5, 60, 300])
def test_a_truncated_file_is_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "day.avro"
    with path.open("wb") as file:
        writer = ContainerWriter(file, {"topic": "market-bars"})
        writer.add(ArchivedMessage(0, 0, None, b"value"))
        writer.flush()
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(Unavailable, match=r"day\.avro"):
        list(read_container(path))


def test_the_files_contain_the_schemas_of_their_records(kafka: KafkaSection, archive: TopicArchive) -> None:
    run(kafka, MemoryLogs({("market-bars", 0): bars_of_days(2)}), archive)
    content = (archive.log_folder("market-bars", 0) / "2024-01-01-000000000000.avro").read_bytes()
    schemas = content[content.index(b"writer.schemas") :]
    assert f'"{SCHEMA_IDS[Bar]}"'.encode() in schemas and b"prediction" not in schemas


def test_an_archive_of_another_platform_is_refused(kafka: KafkaSection, archive: TopicArchive) -> None:
    run(kafka, MemoryLogs({("market-bars", 0): bars_of_days(3)}), archive)
    with pytest.raises(DeployError, match=r"belongs to platform platform-1 .* to platform platform-2"):
        run(kafka, MemoryLogs({("market-bars", 0): bars_of_days(5)}), archive, OWNER._replace(platform_id="platform-2"))
    assert len(archived(archive, "market-bars")) == 8


def test_a_topic_that_does_not_continue_the_archive_is_refused(kafka: KafkaSection, archive: TopicArchive) -> None:
    log = bars_of_days(5)
    run(kafka, MemoryLogs({("market-bars", 0): log[:10]}), archive)
    gap = MemoryLogs({("market-bars", 0): log})
    gap.starts["market-bars", 0] = 9
    other = [*log[:7], log[0], *log[8:]]
    for logs, reason in (
        (gap, "starts at offset 9, but the archive ends at 8"),
        (MemoryLogs({("market-bars", 0): log[:5]}), "ends at offset 5, but the archive ends at 8"),
        (MemoryLogs({("market-bars", 0): other}), "differs from the archive at offset 7"),
    ):
        with pytest.raises(DeployError, match=reason):
            run(kafka, logs, TopicArchive(archive.folder))
    assert archived(archive, "market-bars") == log[:8]


def test_a_folder_with_other_files_is_refused(kafka: KafkaSection, archive: TopicArchive) -> None:
    archive.folder.mkdir()
    (archive.folder / "notes.txt").write_text("")
    with pytest.raises(DeployError, match="is not empty and is not an archive"):
        run(kafka, MemoryLogs({}), archive)


def test_retention_of_topics_with_orders_is_refused() -> None:
    with pytest.raises(BadInput, match="topic 'orders' must stay complete"):
        load_settings(environment={"KAFKA__RETENTION": json.dumps({"orders": 30})})
