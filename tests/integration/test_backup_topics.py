"""Topics are exported up to one clock, and imported with the same offsets, timestamps, keys and headers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from configs.settings import KafkaSection, load_settings
from dataflows.runtime import topology
from deploy.backup.archive import ArchiveReader, ArchiveWriter
from deploy.backup.consistent_cut import TopicsBeforeDatabase, export_topics, topics_before_database
from deploy.backup.manifest import LogContent, log_entry
from deploy.backup.topic_messages import LogReader, LogWriter, StoredMessage, export_complete, unpack
from deploy.errors import DeployError
from deploy.supervisor.process_spec import ProgressCallback
from schemas.codec import encode
from schemas.records import Clock, Record
from tests.builders import bar, command, dead_letter
from tests.integration.recorded_platform import kafka_settings, make_topics

MINUTE = 60_000_000_000


@pytest.fixture
def platform(kafka: str) -> KafkaSection:
    """New topics under a prefix of their own."""
    return kafka_settings(load_settings(environment={}), kafka, make_topics(kafka))


@pytest.fixture
def other_platform(kafka: str) -> KafkaSection:
    return kafka_settings(load_settings(environment={}), kafka, make_topics(kafka))


def produce(kafka: KafkaSection, topic: str, *values: bytes | Record | Clock, **options: object) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})
    for value in values:
        content = value if isinstance(value, bytes) else encode(value)
        producer.produce(kafka.topic_prefix + topic, content, partition=0, **options)  # type: ignore[arg-type]
    assert producer.flush(20) == 0


def clock(minute: int) -> Clock:
    return Clock(minute * MINUTE, "market_data@1")


def write_clocks(kafka: KafkaSection, minute: int, skip: Sequence[str] = ()) -> None:
    """Write a clock to every log that has clocks."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for topic, spec in kafka.topics.items():
        if spec.owner is not None and topic not in skip:
            for partition in topology.partitions_of(topic, kafka.symbol_partitions):
                producer.produce(kafka.topic_prefix + topic, encode(clock(minute)), partition=partition)
    assert producer.flush(20) == 0


def messages(kafka: KafkaSection, topic: str, partition: int = 0) -> list[tuple[int, StoredMessage]]:
    with closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
        content = reader.offsets(topic, partition)
        return list(reader.messages(topic, partition, content.start, content.end))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "all.tar"


@pytest.fixture
def archive(file: Path) -> Iterator[ArchiveWriter]:
    with file.open("w+b") as target:
        yield ArchiveWriter(target)


def export(
    kafka: KafkaSection,
    archive: ArchiveWriter,
    before: TopicsBeforeDatabase | None = None,
    *,
    is_running: bool = True,
    newest_ns: int = -1,
    timeout_s: float = 60.0,
    report: ProgressCallback = lambda line: None,
) -> tuple[int | None, dict[tuple[str, int], LogContent]]:
    result = export_topics(
        kafka,
        archive,
        before or topics_before_database(kafka),
        is_running=is_running,
        newest_ns=newest_ns,
        report=report,
        timeout_s=timeout_s,
    )
    archive.finish()
    archive._file.flush()
    return result


def import_all(
    kafka: KafkaSection, file: Path, archive: ArchiveWriter, contents: dict[tuple[str, int], LogContent]
) -> None:
    with closing(ArchiveReader(file)) as reader, closing(LogWriter(kafka.cluster, kafka.topic_prefix)) as writer:
        for (topic, partition), content in contents.items():
            name = log_entry(topic, partition)
            chunks = reader.chunks(name, archive.entries[name], None)
            writer.fill(topic, partition, content, unpack(chunks, name))


def test_messages_retain_offset_timestamp_key_and_headers_also_after_retention(
    platform: KafkaSection, other_platform: KafkaSection, file: Path, archive: ArchiveWriter
) -> None:
    """The first messages of the log have expired, so it starts at offset 1,500."""
    produce(platform, "orders", *(b"%d" % number for number in range(1500)))
    admin = AdminClient({"bootstrap.servers": platform.bootstrap_servers})
    log = TopicPartition(platform.topic_prefix + "orders", 0, 1500)
    for future in admin.delete_records([log]).values():
        future.result(20)
    produce(platform, "orders", b"a", key="AAPL", timestamp=1_700_000_000_123, headers=[("x", b"1"), ("y", None)])
    produce(platform, "orders", b"", clock(1), timestamp=1_700_000_000_124)
    before = messages(platform, "orders")
    assert [offset for offset, _ in before] == [1500, 1501, 1502]
    cut_ns, contents = export(platform, archive, is_running=False)
    assert cut_ns is None
    assert contents["orders", 0] == LogContent(start=1500, end=1503)
    import_all(other_platform, file, archive, contents)
    assert messages(other_platform, "orders") == before
    with closing(LogReader(platform.cluster, other_platform.topic_prefix)) as reader:
        assert reader.offsets("orders", 0) == LogContent(start=1500, end=1503)


def test_a_running_platform_is_exported_up_to_one_clock(
    platform: KafkaSection, other_platform: KafkaSection, file: Path, archive: ArchiveWriter
) -> None:
    """Records after the clock of the cut, and everything derived from them, are not in the backup."""
    write_clocks(platform, 1)
    produce(platform, "market-bars", bar("A", 1, 2 * MINUTE))
    write_clocks(platform, 2, skip=["risk-events"])
    produce(platform, "market-bars", bar("A", 2, 3 * MINUTE))
    produce(platform, "orders", bar("A", 2, 3 * MINUTE))  # a record of a time slice that the cut does not include

    def report(line: str) -> None:
        """When the cut is known and the export is about to wait for this log, let the service write its clocks."""
        if line == "reading topic risk-events/0":
            threading.Timer(1.0, lambda: produce(platform, "risk-events", clock(2), clock(3))).start()

    cut_ns, contents = export(platform, archive, report=report)
    assert cut_ns == 2 * MINUTE
    import_all(other_platform, file, archive, contents)
    copied = messages(other_platform, "market-bars")
    assert [message.value for _, message in copied] == [
        encode(record) for record in (clock(1), bar("A", 1, 2 * MINUTE), clock(2))
    ]
    assert [message.value for _, message in messages(other_platform, "orders")] == [encode(clock(1)), encode(clock(2))]
    assert messages(other_platform, "risk-events")[-1][1].value == encode(clock(2))


def test_a_command_before_the_backup_is_in_it(platform: KafkaSection, file: Path, archive: ArchiveWriter) -> None:
    """It was written after the last clock and takes effect at the next one, so the cut is that clock."""
    write_clocks(platform, 1)
    produce(platform, "commands", command("cmd-1"))
    with pytest.raises(DeployError, match="topic commands has records after the last clock of market_data"):
        export(platform, archive, timeout_s=1.0)
    threading.Timer(1.0, lambda: write_clocks(platform, 2)).start()
    with file.open("w+b") as target:
        cut_ns, contents = export(platform, ArchiveWriter(target))
    assert cut_ns == 2 * MINUTE
    assert contents["commands", 0] == LogContent(start=0, end=3)


def test_the_cut_is_not_before_the_database(platform: KafkaSection, archive: ArchiveWriter) -> None:
    write_clocks(platform, 1)
    with pytest.raises(DeployError, match="the database has records after the last clock of market_data"):
        export(platform, archive, newest_ns=2 * MINUTE, timeout_s=1.0)


def test_a_service_that_does_not_reach_the_cut_is_named(platform: KafkaSection, archive: ArchiveWriter) -> None:
    write_clocks(platform, 1)
    write_clocks(platform, 2, skip=["orders", "order-refusals", "risk-events"])
    with pytest.raises(DeployError, match=r"topic orders does not reach the clock .* because risk or a service before"):
        export(platform, archive, timeout_s=1.0)


def test_logs_without_clocks_end_at_the_cut_or_at_the_database(
    platform: KafkaSection, other_platform: KafkaSection, file: Path, archive: ArchiveWriter
) -> None:
    produce(platform, "dead-letters", dead_letter("orders", ts_ns=MINUTE), dead_letter("orders", 2, ts_ns=9 * MINUTE))
    produce(platform, "audit-heads", b"before")
    before = topics_before_database(platform)
    produce(platform, "audit-heads", b"after")
    write_clocks(platform, 1)
    _, contents = export(platform, archive, before)
    assert contents["dead-letters", 0] == LogContent(start=0, end=1)
    assert contents["audit-heads", 0] == LogContent(start=0, end=1)
    import_all(other_platform, file, archive, contents)
    [(_, heads)] = messages(other_platform, "audit-heads")
    assert heads.value == b"before"


def test_a_log_with_messages_is_not_written_over(
    platform: KafkaSection, other_platform: KafkaSection, file: Path, archive: ArchiveWriter
) -> None:
    produce(platform, "orders", clock(1))
    _, contents = export(platform, archive, is_running=False)
    produce(other_platform, "orders", b"other")
    with pytest.raises(DeployError, match=r"orders/0 is not empty \(it ends at offset 1\)"):
        import_all(other_platform, file, archive, contents)


def test_a_log_with_missing_offsets_is_refused(platform: KafkaSection) -> None:
    """The end of a transaction takes an offset of its own."""
    producer = Producer({"bootstrap.servers": platform.bootstrap_servers, "transactional.id": platform.topic_prefix})
    producer.init_transactions(20)
    for value in (b"a", b"b"):
        producer.begin_transaction()
        producer.produce(platform.topic_prefix + "orders", value, partition=0)
        producer.commit_transaction(20)
    with (
        closing(LogReader(platform.cluster, platform.topic_prefix)) as reader,
        pytest.raises(DeployError, match="orders/0 has no message at offset 1"),
    ):
        export_complete(reader, "orders", 0, lambda content: None, end=3)


def test_the_last_clock_is_read_before_many_records(platform: KafkaSection) -> None:
    produce(platform, "commands", clock(1), *(command(f"cmd-{number}") for number in range(3000)))
    with closing(LogReader(platform.cluster, platform.topic_prefix)) as reader:
        assert reader.last_clock_ns("commands", 0) == MINUTE
        assert reader.last_clock_ns("news", 0) == -1
