"""A backup of the running platform is restored into another state folder, and the platform trades on from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli_platform import CliPlatform
from tests.e2e.operator_actions import buy, query, switch, wait_for

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def platform(simulator_platform: CliPlatform) -> CliPlatform:
    return simulator_platform


@pytest.fixture(scope="module")
def file(platform: CliPlatform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup that was taken while bars arrived and orders were filled."""
    buy(platform, 17)
    file = tmp_path_factory.mktemp("backup") / "all.tar"
    platform.run("backup", str(file))
    return file


@pytest.fixture(scope="module")
def seal_key(platform: CliPlatform, file: Path) -> str:
    assert file.exists()
    return platform.run("secrets", "get", "BACKUP_SEAL_KEY", "--yes").strip()


@pytest.fixture(scope="module")
def restored(file: Path, seal_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliPlatform]:
    """Another state folder with the restored backup, stopped."""
    other = CliPlatform(tmp_path_factory.mktemp("restored") / "home")
    other.environment["BACKUP_SEAL_KEY"] = seal_key
    other.run("restore", str(file))
    try:
        yield other
    finally:
        other.discard()


def identity(platform: CliPlatform) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((platform.home.recovery / "identity.json").read_text())
    return tree


def test_a_restore_needs_the_key_of_the_platform_that_wrote_the_backup(file: Path, tmp_path: Path) -> None:
    other = CliPlatform(tmp_path / "home")
    message = other.run_error("restore", str(file), status=2)
    assert "is sealed; set the BACKUP_SEAL_KEY of the platform that wrote it" in message
    assert "sealed with another BACKUP_SEAL_KEY" in other.run_error(
        "restore", str(file), status=2, BACKUP_SEAL_KEY="another-key-of-enough-characters-"
    )
    assert not (other.home.root / "data").exists()


def test_a_running_platform_is_not_restored(platform: CliPlatform, file: Path) -> None:
    assert "stop it with `python cli.py stop`" in platform.run_error("restore", str(file), status=1)
    assert platform.run_error("backup", str(file), status=1).endswith("already exists; choose another name")


def test_a_restored_platform_trades_on_from_the_backup(platform: CliPlatform, restored: CliPlatform) -> None:
    """In release 0.2.0, the restored tables and a new start were two histories: `seq 1 of SPY is there more than once`.

    Meanwhile the first platform also trades on, from the same moment.
    """
    before = identity(platform)
    assert identity(restored) == {
        **before,
        "epoch": before["epoch"] + 1,
        "cluster_id": identity(restored)["cluster_id"],
    }
    restored.run("restart")
    # The fill before the backup is there, and a new one follows without a gap.
    assert query(restored, "SELECT count(*) FROM executions WHERE quantity = 17") == [(1,)]
    buy(restored, 19)
    assert query(restored, "SELECT max(seq) - count(*) FROM executions") == [(0,)]
    bought = "SELECT quantity FROM positions WHERE symbol = 'AAPL'"
    wait_for(lambda: query(restored, bought)[0][0] >= 17 + 19, "the new fill is in the positions")
    verified = restored.verify()
    assert verified["agrees"], verified
    checkpoint = restored.run_json("checkpoint", "create")["checkpoint"]
    assert checkpoint["epoch"] == identity(restored)["epoch"]
    replayed = restored.run_json("replay-check")
    assert replayed["equal"], replayed


def test_the_restored_platform_obeys_the_kill_switch(restored: CliPlatform) -> None:
    """Its fence is the next one of the risk service, not the first one again."""
    switch(restored, "on", "HALTED")
    switch(restored, "off", "ACTIVE")
    buy(restored, 23)
    assert restored.verify()["agrees"]


def test_a_failed_restore_leaves_the_platform_as_it_was(
    platform: CliPlatform, restored: CliPlatform, file: Path, tmp_path: Path
) -> None:
    """Without Kafka's jars, the restore cannot fill the topics. The old state is then moved back."""
    restored.run("stop")
    before = identity(restored)
    environment = {"KAFKA_HOME": str(tmp_path / "none")}
    message = restored.run_error("restore", str(file), status=1)
    assert "already has topics, a database, recovery stores; use --force to move them" in message
    restored.run_error("restore", str(file), "--force", status=1, **environment)
    assert identity(restored) == before
    assert not list(restored.home.root.glob("before-restore-*"))
    assert (restored.home.data / "kafka" / "meta.properties").exists()
    # A second restore moves the state aside, and its epoch is above both.
    restored.run("restore", str(file), "--force")
    [old_state] = restored.home.root.glob("before-restore-*")
    assert json.loads((old_state / "recovery" / "identity.json").read_text()) == before
    assert len(list((old_state / "checkpoints").glob("checkpoint-*"))) == 1 and not restored.home.checkpoints.exists()
    assert identity(restored)["epoch"] == before["epoch"] + 1
