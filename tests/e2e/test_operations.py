"""The operator's commands on a running platform: their output agrees with the services."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka.admin import AdminClient
from psycopg2 import connect, sql

from deploy.supervisor.state import read_state
from tests.e2e.cli_platform import CliPlatform
from tests.integration.old_backups import write_old_backup

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def platform(simulator_platform: CliPlatform) -> CliPlatform:
    return simulator_platform


def test_exec_runs_in_the_environment_and_folder_of_the_service(platform: CliPlatform) -> None:
    state = read_state(platform.home)
    assert state is not None
    child = state.child(platform.process_of("risk"))
    assert child is not None
    with open(f"/proc/{child.pid}/environ", "rb") as file:
        process_environment = dict(entry.split("=", 1) for entry in file.read().decode().split("\0") if "=" in entry)
    output = platform.run("exec", "risk-manager", "env", "-0")  # in `compact`, the process that runs it
    exec_environment = dict(entry.split("=", 1) for entry in output.split("\0") if "=" in entry)
    assert {name: value for name, value in exec_environment.items() if name != "PATH"} == {
        name: value for name, value in process_environment.items() if name != "PATH"
    }
    assert exec_environment["PATH"].endswith(process_environment["PATH"])
    assert platform.run("exec", "risk", "pwd").strip() == os.readlink(f"/proc/{child.pid}/cwd")
    # The command connects to the services without an address on the command line.
    script = "import os, psycopg2; print(psycopg2.connect(os.environ['DATABASE_URL']).info.dbname)"
    assert platform.run("exec", "risk", "python", "-c", script) == "trading\n"


def test_exec_passes_input_and_the_exit_code(platform: CliPlatform) -> None:
    assert platform.run("exec", "api", "sh", "-c", "tr a-z A-Z; exit 7", stdin="hello\n", status=7) == "HELLO\n"
    assert "unknown service 'nobody'. Known services: kafka, postgres" in platform.run_error("exec", "nobody", "true")
    assert "cannot run no-such-command" in platform.run_error("exec", "risk", "no-such-command", status=1)


def test_metrics_match_the_dataflow_counts(platform: CliPlatform) -> None:
    def records_in() -> float:
        rows = platform.run_json("metrics")["services"]
        return float(rows["features"]["platform_dataflow_records_in_total"])

    count_before = records_in()
    deadline = time.monotonic() + 300
    while records_in() <= count_before:
        assert time.monotonic() < deadline, "the simulator gives a bar a second"
        time.sleep(1)
    text = platform.run("metrics")
    assert "platform_dataflow_records_in_total" in text
    assert "market_data" in text
    assert table_rows(platform, "features") > count_before


def table_rows(platform: CliPlatform, table: str) -> int:
    with closing(connect(platform.database_url)) as db, db.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        [(count,)] = cursor.fetchall()
    return int(count)


def test_nobody_else_can_read_the_state_folder(platform: CliPlatform) -> None:
    """Under root, PostgreSQL runs as another user and passes two folders, which stay closed for listing."""
    passed = (platform.home.root, platform.home.data) if os.geteuid() == 0 else ()
    for path in (platform.home.root, *platform.home.root.rglob("*")):
        with suppress(FileNotFoundError):  # temporary files of the running services
            assert path.lstat().st_mode & 0o077 == (0o011 if path in passed else 0), path


def test_each_process_has_only_its_own_kafka_credentials(platform: CliPlatform) -> None:
    state = read_state(platform.home)
    assert state is not None
    users = {}
    passwords = {path.read_text().strip(): path.name for path in (platform.home.secrets / "kafka").iterdir()}
    for child in state.children:
        environment = psutil.Process(child.pid).environ()
        users[child.name] = environment.get("KAFKA__SECURITY__USER")
        assert passwords.get(environment.get("KAFKA_PASSWORD", "")) == users[child.name]
        assert len(passwords.keys() & set(environment.values())) == (0 if users[child.name] is None else 1)
    risk = platform.process_of("risk")
    assert users[risk] == risk
    assert users["api"] == "api"
    assert users["alerts"] is None


def test_service_logs_are_searched_and_exported(platform: CliPlatform) -> None:
    assert "first user created" in platform.run("logs", "api", "--search", "FIRST USER")
    export_file = platform.home.root / "logs.json"
    platform.run("logs", "--export", "--format", "json", "--output", str(export_file))
    assert '"service": "postgres"' in export_file.read_text()


def test_analysis_and_hints_cover_the_real_tables_and_topics(platform: CliPlatform) -> None:
    completed = platform.cli("performance", "analyze", "--json")
    analysis = json.loads(completed.stdout)
    assert completed.returncode == (1 if analysis["findings"] else 0)
    loads = {load["service"] for load in analysis["dataflows"]}
    assert loads >= {platform.process_of(service) for service in ("features", "risk", "portfolio")}
    assert {table["name"] for table in analysis["tables"]} >= {"bars", "users"}
    assert platform.cli("performance").returncode in (0, 1)
    hints = platform.run_json("performance", "optimize")["hints"]
    suggested = {hint["statement"] for hint in hints if hint["statement"]}
    applied = set(platform.run_json("performance", "optimize", "--apply")["done"])
    assert suggested <= applied | {""}
    remaining = {hint["statement"] for hint in platform.run_json("performance", "optimize")["hints"]}
    assert not remaining & applied, "what was done is not advised again"


def test_a_lost_database_is_restored_and_brought_up_to_date_from_the_topics(platform: CliPlatform) -> None:
    file = platform.home.root / "backup.tar"
    backup = platform.run_json("backup", str(file))
    assert backup["tables"]["bars"] > 0
    assert backup["topics"]["market-bars/0"] > 0
    message = platform.run_error("restore", str(file), "--database-only", status=1)
    assert "the database is not empty" in message
    output = platform.run("restore", str(file), "--database-only", "--force")
    assert "rows from topic market-bars" in output
    assert "the previous tables are in the database schema before_restore_" in output
    assert platform.verify()["agrees"]
    assert platform.run_json("replay-check")["equal"]


RUN_JOB = """
import sys
from deploy.home import home_from_environment
from deploy.supervisor.scheduled_checks import CheckRunner
runner = CheckRunner(home_from_environment())
runner.check(sys.argv[1], runner._command(sys.argv[1]))
"""


def run_job(platform: CliPlatform, name: str) -> dict[str, Any]:
    """Run a scheduled job in the environment of the process `checks`. Return its result, which must be good."""
    row: dict[str, Any] = json.loads(platform.run("exec", "checks", "python", "-c", RUN_JOB, name))
    assert row["ok"], row
    return row


def test_the_scheduled_replay_check_starts_at_the_scheduled_checkpoint(platform: CliPlatform) -> None:
    """The jobs run with their Kafka principals: `checks` may read, and may not write a marker."""
    assert run_job(platform, "checkpoint")["counts"] == {"created": 1, "removed": 0}
    [checkpoint] = platform.run_json("checkpoint", "list")
    whole, rest = run_job(platform, "replay_check"), run_job(platform, "replay_check")
    assert whole["counts"]["ticks"] > rest["counts"]["ticks"] > 0
    report = platform.run_json("replay-check", "--from", str(whole["last_ns"]))
    assert (report["equal"], report["from_checkpoint"]) == (True, checkpoint["checkpoint_id"])


@pytest.mark.long
def test_a_checkpoint_of_two_processes_is_used_by_one(platform: CliPlatform) -> None:
    platform.run("scale", "features", "2")
    created = platform.run_json("checkpoint", "create")["checkpoint"]
    for count in ("2", "1"):
        platform.run("scale", "features", count)
        assert "after the checkpoint of" in platform.run("rebuild", "features")
    report = platform.run_json("replay-check", "--from", str(created["slice_ns"] + 1))
    assert (report["equal"], report["from_checkpoint"]) == (True, created["checkpoint_id"])


def test_an_old_backup_is_restored_only_on_request(platform: CliPlatform, tmp_path: Path) -> None:
    """It holds the database alone and no seal. The rebuild brings it up to date from the topics."""
    file = tmp_path / "old.tar"
    write_old_backup(platform.database_url, file)
    assert "is not sealed, so nothing shows who wrote it" in platform.run_error("restore", str(file), "--force")
    output = platform.run("restore", str(file), "--force", "--rebuild", "--trust-unsealed")
    assert "rows from topic market-bars" in output
    assert platform.verify()["agrees"]


def test_the_checklist_and_the_audit_read_the_running_platform(platform: CliPlatform) -> None:
    checks = {check["name"]: check for check in platform.run_json("security", "compliance", status=1)["checks"]}
    # Nobody has logged in yet.
    assert checks["the one-time admin password was changed"]["passed"] is False
    assert checks["only the owner can read files with secrets"]["passed"] is True
    assert checks["the database password is strong"]["passed"] is True
    platform.run("secrets", "set", "POLYGON_API_KEY", "-", stdin="a-key")
    entries = platform.run_json("security", "audit", "--since", "1h")
    assert ("secrets set", "POLYGON_API_KEY") in {(entry["did"], entry["what"]) for entry in entries}
    assert ("admin", "user created") in {(entry["who"], entry["did"]) for entry in entries}


def test_the_benchmark_measures_the_running_platform_and_leaves_no_topic(platform: CliPlatform) -> None:
    # The first time slices do not count. The strategy has traded by then.
    deadline = time.monotonic() + 300
    while table_rows(platform, "valuations") < 60:
        assert time.monotonic() < deadline, "a bar a second"
        time.sleep(2)
    report = platform.run_json("performance", "benchmark")
    assert str(platform.home.root) in report["measured"]
    figures = {figure["name"]: figure for figure in report["figures"]}
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
    topics = AdminClient({**platform.viewer}).list_topics(timeout=60).topics
    assert "orders" in topics
    assert not [name for name in topics if "benchmark" in name]
