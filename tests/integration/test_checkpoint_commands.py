"""`replay-check` and `rebuild` start from a checkpoint, on topics in a real Kafka."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from configs.recorded_settings import read_sources
from configs.settings import Settings, load_settings
from deploy.archive import message_deletion
from deploy.archive.day_files import archive_days
from deploy.archive.message_deletion import NOTHING_REQUIRED
from deploy.archive.owner import archive_owner
from deploy.backup.topic_messages import LogReader
from deploy.checkpoints.preview import preview
from deploy.home import Home
from deploy.recovery.recovery_store import read_resume_states
from deploy.supervisor.configuration_record import record_start
from operators.stage import TimeSlice
from schemas.codec import decode, encode
from schemas.records import Order
from sinks.kafka import producer
from tests.builders import command, configuration
from tests.integration.recorded_platform import cli, make_topics
from tests.integration.test_archive import NOW, ignore, market_of_days
from tests.replay.checkpoint_runs import WholeRun, home_of, platform_identity, seal_checkpoint, with_markers
from tests.unit.tape import FAST_STRATEGY, market, with_command

PARTITIONS = 4
VIEW = """
from operators.strategies import TargetView


class Mine:
    def __init__(self, *, name: str = "mine") -> None:
        self.name, self.features = name, ("sma_5",)

    def decide(self, row, state):
        sma = row.values.get("sma_5")
        if sma is None:
            return state, None
        return state, TargetView(direction=int(row.close > sma), strength=1.0, confidence=1.0, parts={"sma_5": sma})
"""
MARKERS = (10, 25, 40)
SLICES = with_markers(with_command(market(60), 30, command("cmd-1")), MARKERS)
TIMES = [time_slice.ts_ns for time_slice in SLICES]


@pytest.fixture(scope="module")
def own_settings() -> Settings:
    return load_settings(environment={"SIGNALS__STRATEGIES": json.dumps([FAST_STRATEGY])})


@pytest.fixture(scope="module")
def whole(own_settings: Settings) -> WholeRun:
    return WholeRun(own_settings, SLICES, PARTITIONS)


class RecordedPlatform:
    """A stopped platform with topics in Kafka and three checkpoints."""

    def __init__(self, home: Home, environment: dict[str, str], ids: list[str]) -> None:
        self.home, self.environment, self.checkpoint_ids = home, environment, ids

    def run(self, *arguments: str) -> Any:
        return cli(self.home.root, *arguments, **self.environment)

    def check(self, *arguments: str, status: int = 0) -> Any:
        completed = self.run("replay-check", *arguments, "--json")
        assert completed.returncode == status, completed.stderr
        return json.loads(completed.stdout)


def record(
    kafka: str,
    folder: Path,
    own_settings: Settings,
    whole: WholeRun,
    changed: Any = None,
    strategies: Sequence[Any] = (FAST_STRATEGY,),
) -> RecordedPlatform:
    """Write the topics and seal the checkpoints. `changed` are messages in place of those of `orders`."""
    prefix = make_topics(kafka)
    client = producer(kafka)
    for (topic, partition), messages in whole.logs.messages.items():
        for message in changed if changed is not None and topic == "orders" else messages:
            client.produce(prefix + topic, message, partition=partition)
        client.flush(20)
    identity = platform_identity(prefix=prefix, partitions=PARTITIONS)
    home = home_of(folder, identity)
    ids = [
        seal_checkpoint(home, own_settings, whole.checkpoint(slice_ns), identity).checkpoint_id
        for slice_ns in whole.states
    ]
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": prefix,
        "SIGNALS__STRATEGIES": json.dumps(strategies),
    }
    return RecordedPlatform(home, environment, ids)


@pytest.fixture
def platform(kafka: str, tmp_path: Path, own_settings: Settings, whole: WholeRun) -> RecordedPlatform:
    return record(kafka, tmp_path, own_settings, whole)


def test_replay_check_starts_at_the_newest_checkpoint_before_the_window(platform: RecordedPlatform) -> None:
    everything = platform.check()
    assert (everything["ticks"], everything["from_checkpoint"], everything["checkpoints"]) == (60, "", [])
    first, second, third = platform.checkpoint_ids
    report = platform.check("--from", str(TIMES[MARKERS[1] + 1]))
    assert (report["ticks"], report["from_checkpoint"], report["checkpoints"]) == (34, second, [third])
    report = platform.check("--from", str(TIMES[MARKERS[1]]))
    assert (report["ticks"], report["from_checkpoint"], report["checkpoints"]) == (35, first, [second, third])
    report = platform.check("--from", str(TIMES[20]), "--to", str(TIMES[30]))
    assert (report["ticks"], report["checkpoints"]) == (11, [second])
    whole_log = platform.check("--from", str(TIMES[50]), "--from-start")
    assert (whole_log["ticks"], whole_log["from_checkpoint"]) == (10, "")
    assert whole_log["decision_hash"] == platform.check("--from", str(TIMES[50]))["decision_hash"]
    text = platform.run("replay-check", "--from", str(TIMES[30])).stdout
    assert f"started at {second}" in text and f"the state equals {third}" in text


def test_a_changed_order_behind_the_checkpoint_is_found(
    kafka: str, tmp_path: Path, own_settings: Settings, whole: WholeRun
) -> None:
    messages = list(whole.logs.messages["orders", 0])
    index = next(
        n for n, message in enumerate(messages) if type(one := decode(message)) is Order and one.ts_ns > TIMES[12]
    )
    order: Any = decode(messages[index])
    messages[index] = encode(order._replace(risk_epoch=5))
    platform = record(kafka, tmp_path, own_settings, whole, messages)
    report = platform.check("--from", str(TIMES[11]), status=1)
    assert report["from_checkpoint"] == platform.checkpoint_ids[0]
    assert report["difference"]["name"] == order.order_id


def test_a_damaged_checkpoint_is_skipped_with_one_sentence(platform: RecordedPlatform) -> None:
    path = platform.home.checkpoints / platform.checkpoint_ids[2] / "risk-books.state"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    completed = platform.run("replay-check", "--from", str(TIMES[50]), "--json")
    assert completed.returncode == 1
    assert "is damaged: risk-books.state" in completed.stderr
    report = json.loads(completed.stdout)
    assert (report["equal"], report["last_ns"], report["from_checkpoint"]) == (
        True,
        TIMES[-1],
        platform.checkpoint_ids[1],
    )
    [sentence] = report["damaged"]
    assert sentence.startswith(f"{platform.checkpoint_ids[2]} is damaged: risk-books.state")
    text = platform.run("replay-check", "--from", str(TIMES[50])).stdout
    assert f"NOT COMPARED: {sentence}" in text and "the replay equals the recording" in text
    manifest = platform.home.checkpoints / platform.checkpoint_ids[2] / "manifest.json"
    intact = manifest.read_text()
    manifest.write_text("{")
    [sentence] = platform.check("--from", str(TIMES[20]), status=1)["damaged"]
    assert sentence.startswith(f"{platform.checkpoint_ids[2]} is damaged: manifest.json")
    manifest.write_text(intact)
    completed = platform.run("replay-check", "--from", str(TIMES[50]), "--to", str(TIMES[-1]), "--from-start", "--json")
    assert completed.returncode == 0, completed.stderr
    verified = platform.run("checkpoint", "verify")
    assert verified.returncode == 1 and "2 of 3 checkpoints can be used" in verified.stdout
    assert platform.run("checkpoint", "verify", platform.checkpoint_ids[0]).returncode == 0
    assert platform.run("checkpoint", "verify", "checkpoint-x").returncode == 2
    listed = json.loads(platform.run("checkpoint", "list", "--json").stdout)
    assert [one["checkpoint_id"] for one in listed] == platform.checkpoint_ids


@pytest.mark.parametrize("index", [MARKERS[0] + 1, MARKERS[2], 50])
def test_a_fork_starts_at_the_newest_checkpoint_before_its_change(platform: RecordedPlatform, index: int) -> None:
    arguments = ("fork", "--at", str(TIMES[index]), "--set", "risk_manager.max_order_notional=1", "--json")
    completed = platform.run(*arguments)
    assert completed.returncode == 0, completed.stderr
    found, expected = json.loads(completed.stdout), json.loads(platform.run(*arguments, "--from-start").stdout)
    newest = [name for name, marker in zip(platform.checkpoint_ids, MARKERS, strict=True) if marker < index][-1]
    assert (found.pop("from_checkpoint"), expected.pop("from_checkpoint")) == (newest, "")
    assert found == expected
    assert found["ticks"] == 60 - index and bool(found["ticks_apart"]) == (index < MARKERS[1]), "orders come early"


def test_a_preview_starts_at_a_checkpoint(platform: RecordedPlatform, make_database: Callable[[], str]) -> None:
    variables = {**platform.environment, "DATABASE_URL": make_database()}
    own_settings = load_settings(environment=variables)
    record_start(own_settings, "1.0", None)
    changes = {"risk_manager.max_order_notional": "1"}
    found = preview(platform.home, own_settings, changes, TIMES[11], from_start=False)
    expected = preview(platform.home, own_settings, changes, TIMES[11], from_start=True)
    assert (found.pop("from_checkpoint"), expected.pop("from_checkpoint")) == (platform.checkpoint_ids[0], "")
    assert found == expected
    assert found["differing_time_slices"] > 0


def rebuilt(platform: RecordedPlatform, service: str, *arguments: str) -> tuple[str, Any]:
    """Rebuild a service. Return what the command prints, and the state of each source and stage by step and shard."""
    completed = platform.run("rebuild", service, *arguments)
    assert completed.returncode == 0, completed.stderr
    found = read_resume_states(platform.home.recovery / service)
    steps = [(one.step.rpartition(".")[2], one) for one in found]
    # The fourth element of a reader's state is the rate of dead letters, which the checkpoints here do not have.
    return completed.stdout, {(step, one.key): one.state[:3] for step, one in steps if step in ("ticks", "stage")}


def compared_records(text: str) -> int:
    count = text.partition("(")[2].partition(" records")[0].replace(",", "")
    return 0 if count == "no" else int(count)


@pytest.mark.parametrize("service", ["features", "risk", "portfolio", "execution"])
def test_a_service_is_rebuilt_from_a_checkpoint_to_the_same_state(
    service: str, platform: RecordedPlatform, make_database: Callable[[], str]
) -> None:
    platform.environment["DATABASE_URL"] = make_database()
    text, state = rebuilt(platform, service)
    whole_text, expected = rebuilt(platform, service, "--from-start")
    assert "after the checkpoint of 2024-01-02T15:11:00Z" in text and "checkpoint" not in whole_text
    assert compared_records(text) < compared_records(whole_text)
    assert state == expected


def test_a_checkpoint_whose_time_slice_only_the_archive_holds_is_used(
    kafka: str, tmp_path: Path, own_settings: Settings, make_database: Callable[[], str]
) -> None:
    """Four days of 20 minutes; Kafka keeps the last two. The checkpoint is of the first day."""
    slices = with_markers(market_of_days(), (10,))
    platform = record(kafka, tmp_path, own_settings, WholeRun(own_settings, slices, PARTITIONS))
    platform.environment |= {"DATABASE_URL": make_database()}
    first_ns = slices[11].ts_ns
    before = platform.check("--from", str(first_ns))
    assert (before["ticks"], before["from_checkpoint"]) == (69, platform.checkpoint_ids[0])
    retention = json.dumps(dict.fromkeys(own_settings.kafka.retention, 2))
    variables = platform.environment | {"PLATFORM_HOME": str(platform.home.root), "KAFKA__RETENTION": retention}
    kafka_settings = load_settings(environment=variables).kafka
    archive = kafka_settings.archive
    assert archive is not None
    with closing(LogReader(kafka_settings.cluster, kafka_settings.topic_prefix)) as reader:
        archive_days(kafka_settings, reader, archive, archive_owner(kafka_settings), now=NOW, report=ignore)
        deletions = message_deletion.plan_deletions(kafka_settings, reader, archive, NOTHING_REQUIRED)
        message_deletion.delete_messages(kafka_settings, archive, deletions, report=ignore)
        for topic in ("market-bars", "features"):
            assert reader.offsets(topic, 0).start > 0
    assert platform.check("--from", str(first_ns)) == before
    for service in ("features", "predictions", "risk"):
        text, state = rebuilt(platform, service)
        assert "after the checkpoint of" in text
        assert state == rebuilt(platform, service, "--from-start")[1]


def test_a_checkpoint_with_a_changed_strategy_file_is_skipped(kafka: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(VIEW)
    strategies = [{"name": f"{file}:Mine"}]
    own_settings = load_settings(environment={"SIGNALS__STRATEGIES": json.dumps(strategies)})
    (first_ns, records), *others = market(60)
    started = configuration(1, own_settings, sources=read_sources(own_settings))
    slices = with_markers([TimeSlice(first_ns, [started, *records]), *others], (10,))
    whole = WholeRun(own_settings, slices, PARTITIONS)
    platform = record(kafka, tmp_path / "home", own_settings, whole, strategies=strategies)
    expected = platform.check("--from", str(TIMES[20]))
    assert expected["from_checkpoint"] == platform.checkpoint_ids[0]
    file.write_text(VIEW + "\n# changed\n")
    refused = platform.run("replay-check", "--from", str(TIMES[20]), "--json")
    skipped, error = refused.stderr.splitlines()
    assert skipped.startswith(f"{platform.checkpoint_ids[0]} cannot be used: file {file} has sha256")
    assert skipped.endswith("an older checkpoint is used, if there is one")
    assert (refused.returncode, refused.stdout) == (2, "") and error.startswith(f"error: file {file} has sha256")
    # The log holds the recorded source code, the checkpoint does not.
    trusted = platform.check("--from", str(TIMES[20]), "--trust-source")
    assert trusted == {**expected, "from_checkpoint": "", "given": trusted["given"]}
