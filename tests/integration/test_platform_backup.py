"""A whole platform is backed up and restored on servers whose addresses are in the environment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import redis
from bytewax.recovery import init_db_dir
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from configs.settings import Settings
from dataflows.runtime.store_lock import locked_store
from dataflows.runtime.topology import COMPACT, Layout, processes
from deploy.backup.archive import ArchiveReader
from deploy.backup.manifest import BackupManifest
from deploy.backup.platform_backup import write_platform_backup
from deploy.backup.platform_restore import RestoreSummary, read_sealed_manifest, restore_platform
from deploy.backup.servers import PlatformServers, platform_servers
from deploy.backup.topic_messages import LogReader
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.recorded_topics import platform_settings
from deploy.supervisor.layout import dataflow_names, read_beside, read_layout, write_layout
from deploy.supervisor.platform_identity import configured_identity, read_cluster_id, read_identities, write_identities
from deploy.supervisor.process_spec import DATAFLOW_NAMES
from deploy.supervisor.start_options import StartOptions, load_options, save_options
from deploy.supervisor.state import ChildState, ChildStatus, Phase, PlatformState, write_state
from schemas.codec import decode, encode
from schemas.records import DISCONNECTED, BrokerUpdate, Clock
from tests.integration.filled_database import fill, read_rows, schemas
from tests.integration.recorded_platform import make_topics

KEY = "k" * 40
UseServers = Callable[[str, str], None]


@pytest.fixture
def use_servers(kafka: str, monkeypatch: pytest.MonkeyPatch) -> UseServers:
    """A function that sets the addresses of the servers, given the prefix of the topics and the database."""

    def use(prefix: str, database_url: str) -> None:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)
        monkeypatch.setenv("KAFKA__TOPIC_PREFIX", prefix)
        monkeypatch.setenv("DATABASE_URL", database_url)

    return use


@pytest.fixture
def platform(kafka: str, make_database: Callable[[], str], use_servers: UseServers, tmp_path: Path) -> Home:
    """A stopped platform: topics with a few messages, a filled database, stores, a settings file and a model."""
    home = Home(tmp_path / "platform")
    home.create_folders()
    settings_file = tmp_path / "my.yaml"
    settings_file.write_text("risk_manager:\n  max_daily_loss: 4321\n")
    save_options(home, StartOptions(feed="simulator", settings=str(settings_file)))
    use_servers(make_topics(kafka), fill(make_database()))
    settings = platform_settings(home, {})
    producer = Producer({"bootstrap.servers": kafka})
    for number in range(3):
        producer.produce(settings.kafka.topic_prefix + "orders", encode(Clock(number, "risk@1")), partition=0)
    assert producer.flush(20) == 0
    for service in DATAFLOW_NAMES:
        (home.recovery / service).mkdir()
        init_db_dir(home.recovery / service, 4)
    (home.root / "models" / "0123").mkdir(parents=True)
    (home.root / "models" / "0123" / "model.skops").write_bytes(b"model")
    write_identities(home, settings, configured_identity(settings, read_cluster_id(settings.kafka.cluster)))
    return home


def back_up(home: Home, file: Path) -> BackupManifest:
    servers = PlatformServers(platform_settings(home, {}), is_running=False)
    return write_platform_backup(home, servers, file, release="1", key=KEY, recipient=None, report=lambda line: None)


def restore(home: Home, file: Path, *, force: bool = False) -> RestoreSummary:
    with closing(ArchiveReader(file)) as archive:
        manifest = read_sealed_manifest(archive, KEY, None)
        return restore_platform(home, archive, manifest, None, key=KEY, force=force, report=lambda line: None)


def stores(home: Home) -> dict[str, bytes]:
    return {path.relative_to(home.recovery).as_posix(): path.read_bytes() for path in home.recovery.rglob("part-*")}


def last_message(settings: Settings, topic: str) -> object:
    with closing(LogReader(settings.kafka.cluster, settings.kafka.topic_prefix)) as reader:
        content = reader.offsets(topic, 0)
        [(_, message)] = reader.messages(topic, 0, content.end - 1, content.end)
        return decode(message.value or b"")


def test_everything_is_restored_and_has_the_next_epoch(
    platform: Home,
    make_database: Callable[[], str],
    use_servers: UseServers,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = platform_settings(platform, {})
    rows_before = read_rows(before.database.postgres.url)
    manifest = back_up(platform, tmp_path / "all.tar")
    assert (tmp_path / "all.tar").stat().st_mode & 0o777 == 0o600
    assert manifest.logs["orders", 0].end == 3
    other = Home(tmp_path / "other")
    use_servers("restored-" + before.kafka.topic_prefix, make_database())
    monkeypatch.setenv("REDIS_URL", redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.set("latest:position:RESTORED", "of the replaced history")
        summary = restore(other, tmp_path / "all.tar")
        assert client.get("latest:position:RESTORED") is None
    settings = platform_settings(other, {})
    identities = read_identities(other, settings)
    assert not identities.missing()
    assert set(identities.present().values()) == {summary.identity}
    assert (summary.identity.platform_id, summary.identity.epoch) == (manifest.identity.platform_id, 2)
    assert summary.old_state is None
    rows = read_rows(settings.database.postgres.url)
    assert {name: rows[name] for name in rows if name != "platform_identity"} == {
        name: rows_before[name] for name in rows_before if name != "platform_identity"
    }
    assert stores(other) == stores(platform)
    assert (other.root / "models" / "0123" / "model.skops").read_bytes() == b"model"
    assert last_message(settings, "orders") == Clock(2, "risk@1")
    # The settings of the last start come from the backup, not from the file of the other machine.
    (tmp_path / "my.yaml").unlink()
    options = load_options(other)
    assert options.settings is not None and options.settings.startswith(str(other.root))
    assert platform_settings(other, {}).risk_manager.max_daily_loss == 4321


def test_a_restore_of_a_compact_platform_restores_its_layout(
    platform: Home, make_database: Callable[[], str], use_servers: UseServers, tmp_path: Path
) -> None:
    beside = ("execution",)
    for name in set(DATAFLOW_NAMES) - set(processes(Layout.COMPACT, beside)):
        shutil.rmtree(platform.recovery / name)
    (platform.recovery / COMPACT).mkdir()
    init_db_dir(platform.recovery / COMPACT, 4)
    write_layout(platform, Layout.COMPACT, beside)
    manifest = back_up(platform, tmp_path / "all.tar")
    assert set(manifest.stores) == {"market_data", "news", "fundamentals", "execution", COMPACT}
    other = Home(tmp_path / "other")
    use_servers("restored-" + platform_settings(platform, {}).kafka.topic_prefix, make_database())
    restore(other, tmp_path / "all.tar")
    assert stores(other) == stores(platform)
    assert (read_layout(other), read_beside(other)) == (Layout.COMPACT, beside)
    assert dataflow_names(other) == processes(Layout.COMPACT, beside)


def test_a_restore_for_a_real_broker_blocks_orders_until_it_is_reconciled(
    platform: Home,
    make_database: Callable[[], str],
    use_servers: UseServers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prefix = platform_settings(platform, {}).kafka.topic_prefix
    identity_file = platform.recovery / "identity.json"
    tree = {**json.loads(identity_file.read_text()), "broker": "alpaca-paper"}
    identity_file.write_text(json.dumps(tree))
    back_up(platform, tmp_path / "all.tar")
    other = Home(tmp_path / "other")
    use_servers("restored-" + prefix, make_database())
    assert restore(other, tmp_path / "all.tar").identity.broker == "alpaca-paper"
    update = last_message(platform_settings(other, {}), "broker-updates")
    assert isinstance(update, BrokerUpdate)
    assert update.event == DISCONNECTED
    assert update.text.startswith("restored from the backup of ")


def test_topics_and_databases_of_others_are_refused(
    platform: Home, kafka: str, make_database: Callable[[], str], use_servers: UseServers, tmp_path: Path
) -> None:
    settings = platform_settings(platform, {})
    back_up(platform, tmp_path / "all.tar")
    other = Home(tmp_path / "other")
    with pytest.raises(DeployError, match=r"orders at .* is not empty, and messages cannot be moved"):
        restore(other, tmp_path / "all.tar")  # the same Kafka and prefix
    # Topics, and a database, of another platform.
    foreign = Home(tmp_path / "foreign")
    use_servers(make_topics(kafka), make_database())
    foreign_settings = platform_settings(foreign, {})
    identity = configured_identity(foreign_settings, read_cluster_id(settings.kafka.cluster))
    write_identities(foreign, foreign_settings, identity)
    with pytest.raises(DeployError, match=f"of platform {identity.platform_id}, but the backup belongs to"):
        restore(other, tmp_path / "all.tar")
    use_servers("new-" + foreign_settings.kafka.topic_prefix, foreign_settings.database.postgres.url)
    with pytest.raises(DeployError, match=f"the database belongs to platform {identity.platform_id}"):
        restore(other, tmp_path / "all.tar")
    use_servers("new-" + foreign_settings.kafka.topic_prefix, fill(make_database()))
    with pytest.raises(DeployError, match="the database is not empty"):
        restore(other, tmp_path / "all.tar")
    with pytest.raises(DeployError, match="already has recovery stores; use --force"):
        restore(platform, tmp_path / "all.tar")


def test_a_restore_that_fails_leaves_neither_topics_nor_tables_nor_state(
    platform: Home,
    kafka: str,
    make_database: Callable[[], str],
    use_servers: UseServers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prefix = "restored-" + platform_settings(platform, {}).kafka.topic_prefix
    back_up(platform, tmp_path / "all.tar")
    url = fill(make_database())
    use_servers(prefix, url)
    rows_before, stores_before = read_rows(url), stores(platform)
    checkpoint = platform.checkpoints / "checkpoint-20240115T210000Z-3f2a91c0"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")

    def fail(home: Home, *rest: object) -> None:
        raise DeployError("the disk is full")

    monkeypatch.setattr("deploy.backup.platform_restore._write_models", fail)
    with pytest.raises(DeployError, match="the disk is full"):
        restore(platform, tmp_path / "all.tar", force=True)
    assert read_rows(url) == rows_before
    assert schemas(url) == []
    assert stores(platform) == stores_before
    assert (checkpoint / "manifest.json").exists()
    topics = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=60).topics
    assert [name for name in topics if name.startswith(prefix)] == []
    monkeypatch.undo()
    use_servers(prefix, url)
    summary = restore(platform, tmp_path / "all.tar", force=True)
    assert summary.old_state is not None
    assert summary.old_schema == schemas(url)[0]
    assert (summary.old_state / "recovery" / "risk" / "part-0.sqlite3").exists()
    # Checkpoints from before a restore cannot be used any more.
    assert (summary.old_state / "checkpoints" / checkpoint.name / "manifest.json").exists()
    assert not platform.checkpoints.exists()


def test_a_platform_whose_processes_run_is_not_restored(platform: Home, tmp_path: Path) -> None:
    """A dataflow that was started by hand, and a process that a killed supervisor left."""
    back_up(platform, tmp_path / "all.tar")
    with locked_store(platform.recovery / "risk"), pytest.raises(DeployError, match="risk is in use by process"):
        restore(platform, tmp_path / "all.tar", force=True)
    process = psutil.Process()
    child = ChildState("risk", "dataflow", ChildStatus.HEALTHY, process.pid, process.create_time())
    dead = PlatformState(
        phase=Phase.RUNNING,
        message="",
        supervisor_pid=process.pid,
        supervisor_started_at=0.0,
        updated_at=0.0,
        children=(child,),
    )
    write_state(platform, dead)
    for command in (
        lambda: restore(platform, tmp_path / "all.tar", force=True),
        lambda: platform_servers(platform, lambda line: None).__enter__(),
    ):
        with pytest.raises(DeployError, match="the supervisor has ended, but risk still run"):
            command()


def test_a_platform_without_identity_or_stores_is_not_backed_up(platform: Home, tmp_path: Path) -> None:
    (platform.recovery / "risk" / "part-0.sqlite3").rename(tmp_path / "part-0.sqlite3")
    with pytest.raises(DeployError, match="risk: recovery store has 3 of its 4 parts"):
        back_up(platform, tmp_path / "all.tar")
    identity_file = platform.recovery / "identity.json"
    identity = json.loads(identity_file.read_text())
    identity_file.write_text(json.dumps({**identity, "epoch": 7}))
    with pytest.raises(DeployError, match="folder, database and topics belong to different platforms"):
        back_up(platform, tmp_path / "all.tar")
    identity_file.write_text(json.dumps({**identity, "substitute": True}))
    with pytest.raises(DeployError, match="the in-memory substitute for Kafka cannot be backed up"):
        back_up(platform, tmp_path / "all.tar")
    identity_file.unlink()
    with pytest.raises(DeployError, match="no platform identity in folder; start the platform once"):
        back_up(platform, tmp_path / "all.tar")
    assert not (tmp_path / "all.tar").exists()
