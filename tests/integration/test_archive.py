"""Archived topics of a real Kafka, with old days deleted: every reader of a whole log finds what it found before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bytewax.recovery import init_db_dir
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from configs.settings import Settings
from dataflows import backtest
from dataflows.replay.archived_recording import open_archived_recording
from dataflows.replay.comparison import ReplayComparison, compare
from dataflows.replay.recorded_feed import RecordedPeriod
from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS, open_recording, read_topics
from dataflows.replay.store_rebuild import rebuild_store
from dataflows.runtime import topology
from dataflows.sources.kafka import KafkaSliceSource
from dataflows.sources.market.clock_recovery import read_feed_history
from dataflows.sources.shared_consumer import ReplayEnd
from deploy.archive import message_deletion
from deploy.archive.day_files import archive_days
from deploy.archive.message_deletion import NOTHING_REQUIRED, LogDeletion, RequiredMessages
from deploy.archive.owner import archive_owner
from deploy.archive.restored_topics import ArchivedPeriod, restore_days
from deploy.backup.topic_messages import LogReader, StoredMessage
from deploy.errors import DeployError
from operators.stage import TimeSlice
from schemas.codec import decode
from schemas.errors import Unavailable
from schemas.records import Bar, FeatureRow, Record
from sinks.archive.topic_archive import TopicArchive
from sinks.record_locator import RecordLocator
from tests.builders import bar
from tests.integration.recorded_platform import cli, kafka_settings, make_topics, write
from tests.unit.tape import FAST_STRATEGY, market, platform_output, settings

DAY_NS = 86_400_000_000_000
NOW = datetime.now(UTC)
DAYS = 4


def ignore(line: str) -> None:
    """Take a line of progress."""


def market_of_days() -> list[TimeSlice]:
    """Four days of 20 minutes each."""
    time_slices = []
    for number, (ts_ns, records) in enumerate(market(20 * DAYS)):
        at_ns = ts_ns + number // 20 * DAY_NS
        bars: list[Record] = [
            bar(r.symbol, r.seq, at_ns, r.close, open=r.open, volume=r.volume) for r in records if type(r) is Bar
        ]
        time_slices.append(TimeSlice(at_ns, bars))
    return time_slices


INPUTS = market_of_days()
OUTPUTS = platform_output(INPUTS, settings())


class Archived(NamedTuple):
    settings: Settings
    archive: TopicArchive
    deletions: Sequence[LogDeletion]
    before: ReplayComparison
    """What the replay gave before the topics were archived."""
    messages: dict[tuple[str, int], list[StoredMessage]]
    """What the topics held then."""


def replayed(run_settings: Settings) -> ReplayComparison:
    with closing(open_recording(run_settings.kafka, "replay-check")) as runs:
        return compare(run_settings, runs)


def archive_and_delete(run_settings: Settings, required: RequiredMessages = NOTHING_REQUIRED) -> list[LogDeletion]:
    kafka = run_settings.kafka
    archive = kafka.archive
    assert archive is not None
    with closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
        archive_days(kafka, reader, archive, archive_owner(kafka), now=NOW, report=ignore)
        deletions = message_deletion.plan_deletions(kafka, reader, archive, required)
        message_deletion.delete_messages(kafka, archive, deletions, report=ignore)
    return deletions


@pytest.fixture(scope="module")
def archived(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Archived:
    """Topics that are archived, with two days in Kafka. The stages have repeated some records after a crash."""
    prefix = make_topics(kafka)
    write(kafka, prefix, INPUTS, INPUT_TOPICS)
    write(kafka, prefix, OUTPUTS[:45], DERIVED_TOPICS)
    write(kafka, prefix, OUTPUTS[38:], DERIVED_TOPICS)
    section = kafka_settings(settings(), kafka, prefix)
    folder = tmp_path_factory.mktemp("home") / "archive"
    section = section.model_copy(update={"archive_folder": folder, "retention": dict.fromkeys(section.retention, 2)})
    run_settings = settings().model_copy(update={"kafka": section})
    before = replayed(run_settings)
    assert before.difference is None and before.ticks == 20 * DAYS
    with closing(LogReader(section.cluster, section.topic_prefix)) as reader:
        messages = {
            (topic, 0): [message for _, message in reader.messages(topic, 0, 0, reader.offsets(topic, 0).end)]
            for topic in ("market-bars", "features", "orders")
        }
    deletions = archive_and_delete(run_settings)
    return Archived(run_settings, TopicArchive(folder), deletions, before, messages)


def first_offset(run_settings: Settings, topic: str) -> int:
    with closing(LogReader(run_settings.kafka.cluster, run_settings.kafka.topic_prefix)) as reader:
        return reader.offsets(topic, 0).start


def test_topics_of_market_data_are_reduced_to_the_retention_and_those_of_orders_are_not(archived: Archived) -> None:
    assert {one.topic for one in archived.deletions} == set(archived.settings.kafka.retention)
    for topic in ("market-bars", "features"):
        files = archived.archive.files(topic, 0)
        assert [file.day for file in files] == ["2024-01-02", "2024-01-03", "2024-01-04"]
        assert first_offset(archived.settings, topic) == files[2].start
    assert first_offset(archived.settings, "orders") == 0 and len(archived.archive.files("orders", 0)) == 3


def test_the_archive_holds_every_message_of_its_days(archived: Archived) -> None:
    for (topic, partition), messages in archived.messages.items():
        end = archived.archive.end(topic, partition)
        found = [StoredMessage(*entry[1:]) for entry in archived.archive.messages(topic, partition)]
        expected = [message._replace(headers=tuple(message.headers)) for message in messages[:end]]
        assert found == expected and 0 < end < len(messages)


def test_archive_and_topics_replay_as_one_log(archived: Archived) -> None:
    assert replayed(archived.settings) == archived.before


def test_a_service_is_rebuilt_from_archive_and_topics(archived: Archived, tmp_path: Path) -> None:
    expected = sum(type(record) is FeatureRow for time_slice in OUTPUTS for record in time_slice.records)
    store = tmp_path / "features"
    store.mkdir()
    init_db_dir(store, 1)
    shards = topology.shards("features", archived.settings.kafka.symbol_partitions)
    rebuilt = rebuild_store(archived.settings, "features", shards, store)
    assert (rebuilt.last_slice_ns, rebuilt.records) == (INPUTS[-1].ts_ns, expected)


def test_a_backtest_reads_archive_and_topics(archived: Archived) -> None:
    given: list[Record] = []
    backtest.run(archived.settings, RecordedPeriod(), make_observers=lambda: [given.extend])
    assert sum(type(record) is Bar for record in given) == 60 * DAYS


def test_a_record_that_only_the_archive_holds_has_its_place(archived: Archived) -> None:
    kafka = archived.settings.kafka
    record = INPUTS[5].records[0]
    with closing(
        RecordLocator(kafka.cluster, kafka.symbol_partitions, prefix=kafka.topic_prefix, archive=archived.archive)
    ) as places:
        place = places.find(record)
        newest = places.find(INPUTS[-1].records[0])
    assert place is not None and newest is not None and newest.offset > place.offset
    [message] = archived.archive.messages(place.topic, place.partition, place.offset, place.offset + 1)
    assert decode(message.value) == record


def test_a_rebuilt_feed_reads_its_last_records_from_archive_and_topics(archived: Archived) -> None:
    state = read_feed_history(archived.settings.kafka, INPUTS[-1].ts_ns)
    assert {symbol: last.seq for symbol, last in state.bars.items()} == dict.fromkeys(("AAPL", "IBM", "SPY"), 20 * DAYS)
    assert state.messages > 60 * DAYS


def test_the_archive_alone_replays(archived: Archived) -> None:
    recording = open_archived_recording(archived.archive, archived.settings.kafka.symbol_partitions, "test")
    with closing(recording):
        result = compare(archived.settings, recording)
    assert (result.difference, result.ticks) == (None, 20 * (DAYS - 1))


def test_a_log_that_joins_starts_at_the_first_message_of_a_shortened_topic(archived: Archived) -> None:
    """A new release reads one more topic: a snapshot lacks the log, whose beginning is no longer in Kafka."""
    kafka = archived.settings.kafka
    log = topology.input_logs("predictions", "0", kafka.symbol_partitions)
    joined_at_ns = INPUTS[50].ts_ns
    source = KafkaSliceSource(
        kafka.cluster, "predictions", {"0": log}, prefix=kafka.topic_prefix, until=ReplayEnd(end_of_logs=True)
    )
    slices = []
    with closing(source.build_part("test", "0", (1, joined_at_ns, {}))) as part:
        while True:
            try:
                slices += [one.ts_ns for _, batch in part.next_batch() for one in batch]
            except StopIteration:
                break
    assert slices == [one.ts_ns for one in INPUTS[51:]]


def test_records_since_a_time_are_read_from_the_archived_file_of_that_time(archived: Archived) -> None:
    """All messages were written at once, so the file that holds the time is the first one."""
    kafka = archived.settings.kafka
    since_ns = archived.messages["features", 0][0].timestamp_ms * 1_000_000
    with closing(read_topics(kafka, "test", ["features"], since_ns=since_ns)) as time_slices:
        assert [one.ts_ns for one in time_slices] == [one.ts_ns for one in INPUTS]


def test_a_service_without_a_store_starts_at_the_first_archived_message(archived: Archived) -> None:
    """A live service, which a new release has added to the platform."""
    kafka = archived.settings.kafka
    logs = topology.input_logs("features", "0", kafka.symbol_partitions)
    source = KafkaSliceSource(
        kafka.cluster, "features", {"0": logs}, prefix=kafka.topic_prefix, archive=archived.archive
    )
    slices: list[int] = []
    with closing(source.build_part("test", "0", None)) as part:
        while len(slices) < len(INPUTS):
            slices += [one.ts_ns for _, batch in part.next_batch() for one in batch]
    assert slices == [one.ts_ns for one in INPUTS]


def test_without_its_archive_a_shortened_topic_is_refused_with_one_sentence(archived: Archived, tmp_path: Path) -> None:
    kafka = archived.settings.kafka.model_copy(update={"archive_folder": tmp_path / "none"})
    elsewhere = archived.settings.model_copy(update={"kafka": kafka})
    store = tmp_path / "store"
    store.mkdir()
    init_db_dir(store, 1)
    for read in (
        lambda: replayed(elsewhere),
        lambda: list(read_topics(kafka, "test", ["market-bars"])),
        lambda: read_feed_history(kafka, INPUTS[-1].ts_ns),
        lambda: rebuild_store(elsewhere, "features", ["0"], store),
    ):
        with pytest.raises(Unavailable, match=r"topic \S+ starts at offset \d+, .* set kafka.archive_folder"):
            read()


def test_archived_days_are_restored_to_topics_of_their_own(archived: Archived) -> None:
    kafka = archived.settings.kafka
    period = ArchivedPeriod(("market-bars",), "2024-01-03", "2024-01-03")
    [(name, count)] = restore_days(kafka, archived.archive, period, replace=False, report=ignore).items()
    file = archived.archive.files("market-bars", 0)[1]
    with closing(LogReader(kafka.cluster, "")) as reader:
        found = [message for _, message in reader.messages(name, 0, file.start, reader.offsets(name, 0).end)]
        assert reader.offsets(name, 0).start == file.start
    assert found == archived.messages["market-bars", 0][file.start : file.end] and count > len(found)
    with pytest.raises(DeployError, match="already exists; use --replace"):
        restore_days(kafka, archived.archive, period, replace=False, report=ignore)
    restore_days(kafka, archived.archive, period, replace=True, report=ignore)


@pytest.fixture
def fresh(kafka: str, tmp_path: Path) -> Settings:
    """New topics of the same four days that are not archived yet."""
    prefix = make_topics(kafka)
    write(kafka, prefix, INPUTS, INPUT_TOPICS)
    section = kafka_settings(settings(), kafka, prefix)
    update = {"archive_folder": tmp_path / "archive", "retention": {"market-bars": 1}}
    return settings().model_copy(update={"kafka": section.model_copy(update=update)})


def test_a_damaged_archive_deletes_nothing_from_kafka(fresh: Settings) -> None:
    kafka = fresh.kafka
    archive = kafka.archive
    assert archive is not None
    with closing(LogReader(kafka.cluster, kafka.topic_prefix)) as reader:
        archive_days(kafka, reader, archive, archive_owner(kafka), now=NOW, report=ignore)
        path = archive.log_folder("market-bars", 3) / archive.files("market-bars", 3)[0].name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        deletions = message_deletion.plan_deletions(kafka, reader, archive, NOTHING_REQUIRED)
        assert len(deletions) == 4
        with pytest.raises(Unavailable, match=f"{path.name} is damaged: its SHA-256 starts with"):
            message_deletion.delete_messages(kafka, archive, deletions, report=ignore)
        assert all(reader.offsets("market-bars", n).start == 0 for n in range(4))


def test_nothing_is_deleted_that_a_store_or_a_consumer_group_still_needs(fresh: Settings) -> None:
    kafka = fresh.kafka
    group, log = f"{kafka.topic_prefix}risk-report", TopicPartition(kafka.topic_prefix + "market-bars", 0, 25)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    request = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [log])])
    request[group].result(60)
    offsets = message_deletion._offsets_of_groups(kafka)
    assert offsets == {("market-bars", 0): (25, group)}
    required = RequiredMessages(
        "2024-01-04", {log: (offset, f"consumer group {by}") for log, (offset, by) in offsets.items()}
    )
    deletions = {one.partition: one for one in archive_and_delete(fresh, required)}
    archive = TopicArchive(kafka.archive_folder or Path())
    assert 0 not in deletions or deletions[0].end <= 25
    assert first_offset(fresh, "market-bars") <= 25
    for partition in (1, 2, 3):
        assert deletions[partition].limited_by == "the recovery stores"
        assert deletions[partition].end == archive.files("market-bars", partition)[2].start


def test_the_commands_list_verify_and_replay_an_archive(archived: Archived, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(archived.archive.folder, home / "archive")
    environment = {"SIGNALS__STRATEGIES": json.dumps([FAST_STRATEGY])}
    listed = json.loads(cli(home, "archive", "list", "--json", **environment).stdout)
    assert listed["topics"]["market-bars"]["days"] == ["2024-01-02", "2024-01-03", "2024-01-04"]
    assert "market-bars" in cli(home, "archive", "list", **environment).stdout
    verified = json.loads(cli(home, "archive", "verify", "--json", **environment).stdout)
    assert verified["messages"] == sum(topic["messages"] for topic in listed["topics"].values())
    result: Any = cli(home, "archive", "replay", "--json", **environment)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["ticks"] == 20 * (DAYS - 1)
    path = next((home / "archive" / "features" / "0").glob("*.avro"))
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    for command in (("verify",), ("replay",)):
        failed = cli(home, "archive", *command, **environment)
        assert failed.returncode == 1 and failed.stdout == ""
        assert failed.stderr.startswith(f"error: the archive file {path} is damaged") and failed.stderr.count("\n") == 1


def test_an_archive_of_another_platform_is_refused_by_every_command(
    archived: Archived, kafka: str, tmp_path: Path
) -> None:
    home, prefix = tmp_path / "home", make_topics(kafka)
    shutil.copytree(archived.archive.folder, home / "archive")
    (home / "run").mkdir()
    environment = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "KAFKA__TOPIC_PREFIX": prefix}
    for command in (("replay-check",), ("archive", "create"), ("archive", "restore")):
        failed = cli(home, *command, **environment)
        assert failed.returncode == 1 and "set kafka.archive_folder to the archive of this platform" in failed.stderr
    assert cli(home, "archive", "restore", "--from", "2024-13-01", **environment).returncode == 2
