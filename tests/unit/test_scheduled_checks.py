"""The scheduled checks: when they are due, and what their result files contain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from configs.settings import load_settings
from configs.settings.platform import ChecksSection
from deploy.home import REPOSITORY, Home
from deploy.supervisor import scheduled_checks
from deploy.supervisor.platform_identity import write_folder_identity
from deploy.supervisor.scheduled_checks import CheckRunner, next_daily_time, read_results, result_of
from schemas.errors import BadInput
from tests.replay.checkpoint_runs import platform_identity


@pytest.mark.parametrize(
    ("now", "due"), [((2024, 1, 15, 1, 59), (2024, 1, 15, 2)), ((2024, 1, 15, 2), (2024, 1, 16, 2))]
)
def test_a_nightly_check_is_due_once_a_day(now: tuple[int, ...], due: tuple[int, ...]) -> None:
    assert next_daily_time(datetime(*now, tzinfo=UTC), "02:00") == datetime(*due, tzinfo=UTC)  # type: ignore[misc, arg-type]


def test_result_reports_the_finding_or_the_last_error_line() -> None:
    checks = [{"name": "a", "difference": None}, {"name": "b", "difference": "orders ord-1: changed"}]
    row = result_of("verify", 1, json.dumps({"checks": checks}), "", finished_at=5.0, duration_s=1.23456)
    assert row == {
        "name": "verify",
        "ok": False,
        "finished_at": 5.0,
        "duration_s": 1.235,
        "counts": {"checks": 2, "findings": 1},
        "message": "orders ord-1: changed",
    }
    row = result_of("verify", 1, "", "x\nerror: Kafka is away\n", finished_at=5.0, duration_s=1.0)
    assert (row["ok"], row["message"]) == (False, "error: Kafka is away")
    report = {"ticks": 60, "difference": {"topic": "orders", "name": "ord-1"}, "damaged": []}
    row = result_of("replay_check", 1, json.dumps(report), "", finished_at=5.0, duration_s=1.0)
    assert (row["ok"], row["counts"], row["message"]) == (False, {"ticks": 60, "findings": 1}, "orders ord-1 differs")
    archive = {"messages": 500, "cuts": [{"start": 10, "end": 40}, {"start": 0, "end": 5}], "uncut_reason": ""}
    archive |= {"partitions": [{"rows": 7}, {"rows": 0}], "tables_reason": ""}
    row = result_of("archive", 0, json.dumps(archive), "", finished_at=5.0, duration_s=1.0)
    assert (row["ok"], row["counts"], row["message"]) == (
        True,
        {"archived": 500, "deleted": 35, "table_rows": 7},
        "",
    )
    archive |= {"cuts": [], "uncut_reason": "the recovery store of risk is missing"}
    row = result_of("archive", 1, json.dumps(archive), "error: x", finished_at=5.0, duration_s=1.0)
    assert (row["ok"], row["message"]) == (False, "the recovery store of risk is missing")


def test_the_result_of_a_checkpoint_counts_it_and_a_silent_feed_is_no_error() -> None:
    output: dict[str, Any] = {
        "checkpoint": {"checkpoint_id": "checkpoint-1"},
        "removed": ["checkpoint-0"],
        "reason": "",
    }
    row = result_of("checkpoint", 0, json.dumps(output), "", finished_at=5.0, duration_s=1.0)
    assert (row["ok"], row["counts"], row["message"]) == (True, {"created": 1, "removed": 1}, "")
    output = {"checkpoint": None, "removed": [], "reason": "market_data writes no clock"}
    row = result_of("checkpoint", 0, json.dumps(output), "", finished_at=5.0, duration_s=1.0)
    assert (row["ok"], row["counts"]["created"], row["message"]) == (True, 0, "market_data writes no clock")


def test_a_replay_check_continues_where_the_last_one_found_no_difference(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    home.checks.mkdir()
    runner, file = CheckRunner(home), home.checks / "replay_check.json"
    command = ("replay-check", "--json")
    assert runner._command("replay_check") == command, "the first one replays everything"
    found: dict[str, Any] = {"ticks": 60, "difference": None, "last_ns": 123456789000, "damaged": []}
    row = result_of("replay_check", 0, json.dumps(found), "", finished_at=5.0, duration_s=1.0)
    file.write_text(json.dumps(row))
    assert runner._command("replay_check") == (*command, "--from", "123456789000")
    assert runner._command("verify") == scheduled_checks.VERIFY
    write_folder_identity(home, platform_identity())
    assert runner._command("replay_check") == command, "the last one was on another platform"
    file.write_text(json.dumps(row | {"platform": "p-1/1"}))
    assert runner._command("replay_check") == (*command, "--from", "123456789000")
    write_folder_identity(home, platform_identity(epoch=2))
    assert runner._command("replay_check") == command, "a restore has replaced the log"
    row = result_of("replay_check", 1, "", "error: Kafka is away", finished_at=5.0, duration_s=1.0)
    file.write_text(json.dumps(row))
    assert runner._command("replay_check") == command, "after an error, everything"


def test_a_difference_from_a_checkpoint_is_the_message() -> None:
    difference = {"topic": "", "name": "", "state": "the state differs from checkpoint-1: risk, shard books"}
    report = {"ticks": 60, "difference": difference, "last_ns": 9, "damaged": []}
    row = result_of("replay_check", 1, json.dumps(report), "", finished_at=5.0, duration_s=1.0)
    assert (row["message"], "last_ns" in row) == (difference["state"], False)


def test_a_damaged_checkpoint_is_a_finding_and_the_next_check_continues_after_it() -> None:
    report = {"ticks": 60, "difference": None, "last_ns": 9, "damaged": ["checkpoint-2 is damaged"]}
    row = result_of("replay_check", 1, json.dumps(report), "", finished_at=5.0, duration_s=1.0)
    assert (row["ok"], row["counts"]["findings"], row["message"]) == (False, 1, "checkpoint-2 is damaged")
    assert row["last_ns"] == 9


def test_the_daily_jobs_use_other_principals_of_the_embedded_kafka() -> None:
    environment = {"KAFKA__SECURITY__USER": "checks", "KAFKA_PASSWORD": "not-a-password", "PATH": "/bin"}
    assert scheduled_checks.command_environment("archive", environment) == {"PATH": "/bin"}
    assert scheduled_checks.command_environment("checkpoint", environment) == {"PATH": "/bin"}
    assert scheduled_checks.command_environment("verify", environment) == environment
    own_cluster = environment | {"KAFKA__SECURITY__USER": "trading"}
    assert scheduled_checks.command_environment("archive", own_cluster) == own_cluster


def test_a_check_leaves_its_result_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    CheckRunner(Home(tmp_path)).check("verify", ("verify", "--json"))
    (row,) = read_results(Home(tmp_path))
    assert row["name"] == "verify" and row["ok"] is False
    assert row["message"].startswith("error: no platform runs in")


def handles_signal(pid: int, number: int) -> bool:
    """Return whether the process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_process_ends_on_sigterm(tmp_path: Path) -> None:
    command = scheduled_checks.service_command(ChecksSection(verify=3600, checkpoint="21:00", archive=None))
    assert command[3:] == ("--verify", "3600", "--replay-check", "02:00", "--checkpoint", "21:00")
    child = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "PLATFORM_HOME": str(tmp_path)})
    try:
        deadline = time.monotonic() + 60
        while not handles_signal(child.pid, signal.SIGTERM):
            assert time.monotonic() < deadline, "no handler for SIGTERM"
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    finally:
        if child.poll() is None:
            child.kill()
    assert command[0] == sys.executable


def test_check_schedule_is_configurable() -> None:
    checks = load_settings(environment={}).platform.checks
    assert (checks.verify, checks.replay_check, checks.archive) == (300, "02:00", "01:00")
    assert checks.checkpoint == "21:15"
    environment = {"PLATFORM__CHECKS__VERIFY": "~", "PLATFORM__CHECKS__REPLAY_CHECK": "12:30"}
    checks = load_settings(environment=environment).platform.checks
    assert (checks.verify, checks.replay_check) == (None, "12:30")
    with pytest.raises(BadInput, match=r"platform\.checks.verify"):
        load_settings(environment={"PLATFORM__CHECKS__VERIFY": "often"})
    with pytest.raises(BadInput, match=r"platform\.checks.replay_check"):
        load_settings(environment={"PLATFORM__CHECKS__REPLAY_CHECK": "25:00"})
