"""The commands of the operator on a platform that runs: what they say is what the services say."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from psycopg2 import connect, sql

from deploy.supervisor.state import read_state
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
    assert table_rows(platform, "features") > before


def table_rows(platform: Started, table: str) -> int:
    url = platform.says("exec", "risk", "printenv", "DATABASE_URL").strip()
    with closing(connect(url)) as db, db.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        [(count,)] = cursor.fetchall()
    return int(count)


def test_logs_of_the_services_are_found_and_exported(platform: Started) -> None:
    assert "made the first user" in platform.says("logs", "api", "--search", "MADE THE FIRST")
    out = platform.home.root / "logs.json"
    platform.says("logs", "--export", "--format", "json", "--output", str(out))
    assert '"service": "postgres"' in out.read_text()


def test_the_benchmark_measures_what_runs_and_leaves_no_topic(platform: Started) -> None:
    # Its first ticks do not count; by then the strategy has traded.
    deadline = time.monotonic() + 120
    while table_rows(platform, "valuations") < 60:
        assert time.monotonic() < deadline, "a bar a second"
        time.sleep(2)
    told = platform.tells("performance", "benchmark")
    assert str(platform.home.root) in told["measured"]
    figures = {figure["name"]: figure for figure in told["figures"]}
    assert list(figures) == [
        "Order latency",
        "Market data latency",
        "Portfolio update",
        "Risk check",
        "Database query",
        "Message throughput",
    ]
    bars = figures["Market data latency"]
    assert bars["n"] > 10
    assert 0 <= bars["p50"] <= bars["p99"] < 30_000
    assert figures["Message throughput"]["p50"] > 100
    assert 0 < figures["Database query"]["p50"] <= figures["Database query"]["p99"]
    servers = platform.says("exec", "risk", "printenv", "KAFKA_BOOTSTRAP_SERVERS").strip()
    topics = AdminClient({"bootstrap.servers": servers}).list_topics(timeout=10).topics
    assert not [name for name in topics if "benchmark" in name]


def test_analysis_and_hints_are_of_the_real_tables_and_topics(platform: Started) -> None:
    done = platform.cli("performance", "analyze", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == (1 if told["findings"] else 0)
    assert {load["service"] for load in told["dataflows"]} >= {"features", "risk", "portfolio"}
    assert {table["name"] for table in told["tables"]} >= {"bars", "users"}
    assert platform.cli("performance").returncode in (0, 1)
    hints = platform.tells("performance", "optimize")["hints"]
    wanted = {hint["statement"] for hint in hints if hint["statement"]}
    applied = set(platform.tells("performance", "optimize", "--apply")["done"])
    assert wanted <= applied | {""}
    left = {hint["statement"] for hint in platform.tells("performance", "optimize")["hints"]}
    assert not left & applied, "what was done is not advised again"


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


def test_the_checklist_and_the_audit_are_of_the_running_platform(platform: Started) -> None:
    checks = {check["name"]: check for check in platform.tells("security", "compliance", status=1)["checks"]}
    # Nobody has logged in yet.
    assert checks["the one-time password of admin is not in use"]["passed"] is False
    assert checks["files with secrets are for their owner only"]["passed"] is True
    assert checks["the database password cannot be guessed"]["passed"] is True
    platform.says("secrets", "set", "POLYGON_API_KEY", "-", given="a-key")
    deeds = platform.tells("security", "audit", "--since", "1h")
    assert ("secrets set", "POLYGON_API_KEY") in {(deed["did"], deed["what"]) for deed in deeds}
    assert ("admin", "became a user") in {(deed["who"], deed["did"]) for deed in deeds}
