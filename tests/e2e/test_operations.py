"""The commands of the operator on a platform that runs: what they say is what the services say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg2 import connect

from deploy.state import read_state
from tests.e2e.started import Started, started

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """With the simulator: a bar a second of five symbols."""
    with started(tmp_path_factory.mktemp("operations") / "home") as running:
        yield running


def test_exec_has_the_environment_and_folder_of_the_services_process(platform: Started) -> None:
    state = read_state(platform.home)
    assert state is not None
    child = state.child("risk")
    assert child is not None
    with open(f"/proc/{child.pid}/environ", "rb") as file:
        real = dict(entry.split("=", 1) for entry in file.read().decode().split("\0") if "=" in entry)
    said = platform.says("exec", "risk-manager", "env", "-0")
    found = dict(entry.split("=", 1) for entry in said.split("\0") if "=" in entry)
    assert {name: value for name, value in found.items() if name != "PATH"} == {
        name: value for name, value in real.items() if name != "PATH"
    }
    assert found["PATH"].endswith(real["PATH"])
    assert platform.says("exec", "risk", "pwd").strip() == os.readlink(f"/proc/{child.pid}/cwd")
    # It reaches the services with it, without a word about where they are.
    script = "import os, psycopg2; print(psycopg2.connect(os.environ['DATABASE_URL']).info.dbname)"
    assert platform.says("exec", "risk", "python", "-c", script) == "trading\n"


def test_exec_passes_input_and_the_exit_code(platform: Started) -> None:
    assert platform.says("exec", "api", "sh", "-c", "tr a-z A-Z; exit 7", given="hello\n", status=7) == "HELLO\n"
    assert "there is no service 'nobody'; there are kafka, postgres" in platform.refuses("exec", "nobody", "true")
    assert "no-such-command cannot be run" in platform.refuses("exec", "risk", "no-such-command", status=1)


def test_metrics_are_the_dataflows_own_counts(platform: Started) -> None:
    def records_in() -> float:
        rows = platform.tells("metrics")["services"]
        return float(rows["features"]["platform_dataflow_records_in_total"])

    before = records_in()
    deadline = time.monotonic() + 30
    while records_in() <= before:
        assert time.monotonic() < deadline, "the simulator gives a bar a second"
        time.sleep(1)
    text = platform.says("metrics")
    assert "platform_dataflow_records_in_total" in text
    assert "market_data" in text
    with connect(platform.says("exec", "risk", "printenv", "DATABASE_URL").strip()) as db, db.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM features")
        [stored] = cursor.fetchone() or (0,)
    assert stored > before


def test_logs_of_the_services_are_found_and_exported(platform: Started) -> None:
    assert "made the first user" in platform.says("logs", "api", "--search", "MADE THE FIRST")
    out = platform.home.root / "logs.json"
    platform.says("logs", "--export", "--format", "json", "--output", str(out))
    assert '"service": "postgres"' in out.read_text()


def test_a_backup_of_the_running_platform_is_restored_and_caught_up_from_the_topics(platform: Started) -> None:
    file = platform.home.root / "backup.tar"
    made = platform.tells("backup", str(file))
    assert made["tables"]["bars"] > 0
    assert made["topics"]["market-bars/0"] > 0
    assert platform.refuses("backup", str(file), status=1).endswith("exists already")
    assert "the database is not empty" in platform.refuses("restore", str(file), status=1)
    said = platform.says("restore", str(file), "--force", "--rebuild")
    assert "rows from topic market-bars" in said
    assert platform.tells("verify")["agrees"]
    assert platform.tells("replay-check")["equal"]


def test_a_backup_starts_a_new_machine_without_a_running_platform(platform: Started, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    made = platform.tells("backup", str(file))
    other = Started(tmp_path / "other")
    restored = other.tells("restore", str(file))
    assert restored["tables"] == made["tables"]
    assert other.tells("backup")["tables"] == made["tables"]
