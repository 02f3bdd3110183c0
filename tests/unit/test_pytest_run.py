"""How `cli.py test` runs pytest: parallel workers, separate measurement runs, and one summary of all runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.home import REPOSITORY
from deploy.testing import pytest_run
from deploy.testing.pytest_run import plan_runs
from deploy.testing.run_report import REPORT_FILE_VARIABLE, REPORT_PLUGIN, RunReport, read_report


def worker_count(run: list[str]) -> str:
    return run[run.index("-n") + 1]


def test_the_value_of_an_option_is_not_a_test_path() -> None:
    for arguments in (["-k", "api"], ["--deselect", "tests/unit/test_money.py"]):
        assert len(plan_runs(arguments, None)) == 2


def test_all_tests_take_two_runs_and_measurements_run_alone_and_last() -> None:
    parallel, alone = plan_runs([], None)
    assert "tests" in parallel and "--ignore=tests/performance" in parallel
    assert int(worker_count(parallel)) >= 2
    assert "tests/performance" in alone and worker_count(alone) == "0"
    assert all("--durations=20" in run for run in (parallel, alone))


@pytest.mark.parametrize(
    ("arguments", "workers", "expected"),
    [
        (["tests/unit/test_money.py"], None, "0"),
        (["tests/unit/test_money.py::test_x"], None, "0"),
        (["tests/performance"], None, "0"),
        (["tests/unit"], 3, "3"),
        (["tests/unit"], 1, "0"),
    ],
)
def test_named_tests_take_one_run(arguments: list[str], workers: int | None, expected: str) -> None:
    [run] = plan_runs(arguments, workers)
    assert worker_count(run) == expected
    assert run[-len(arguments) :] == arguments


@pytest.mark.parametrize("option", ["-n 0", "-n4", "--numprocesses=2", "--pdb", "-s", "--dist=load"])
def test_options_for_the_number_of_processes_are_not_changed(option: str) -> None:
    parallel, alone = plan_runs(option.split(), None)
    assert parallel.count("-n") == option.split().count("-n")
    assert alone[-2:] == ["-n", "0"], "the last value counts"


def test_the_exit_code_is_the_first_failure_and_an_empty_run_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(pytest_run, "_run_pytest", lambda environment, arguments: codes.pop(0))
    for pair, expected in (((0, 0), 0), ((5, 0), 0), ((0, 5), 0), ((5, 5), 5), ((1, 0), 1), ((0, 1), 1), ((2,), 2)):
        codes[:] = pair
        assert pytest_run.run_pytest({}, []) == expected
        assert not codes


def test_a_run_stores_its_counts_and_slowest_tests(tmp_path: Path) -> None:
    test_file = tmp_path / "test_sample.py"
    test_file.write_text("import time\ndef test_slow(): time.sleep(0.2)\ndef test_fails(): assert False\n")
    report_file = tmp_path / "report.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", REPORT_PLUGIN, "-p", "no:cacheprovider", str(test_file)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), REPORT_FILE_VARIABLE: str(report_file)}
    completed = subprocess.run(
        [*command, f"--rootdir={tmp_path}", "-c", os.devnull],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert completed.returncode == 1, completed.stdout
    [report] = read_report(report_file)
    assert (report.counts["passed"], report.counts["failed"]) == (1, 1)
    assert report.slowest[0][0].endswith("::test_slow")


def test_reports_of_two_runs_become_one_summary(tmp_path: Path) -> None:
    assert read_report(tmp_path / "missing.json") == []
    stored = tmp_path / "stored.json"
    stored.write_text(json.dumps({"counts": {"passed": 2}, "duration_s": 61.0, "slowest": [["b", 2.0]]}))
    merged = RunReport.merge(
        [RunReport({"passed": 1, "failed": 1}, 60.0, [("a", 3.0), ("c", 1.0)]), *read_report(stored)]
    )
    lines = merged.text().splitlines()
    assert lines[-1] == "All runs: 1 failed, 3 passed in 2 min 1 s"
    assert [line.split()[-1] for line in lines[2:5]] == ["a", "b", "c"]


def test_a_process_that_a_test_leaves_running_is_ended(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It belongs to another session, as the supervisor of a platform does, so no signal of the terminal reaches it."""
    test_file = tmp_path / "test_leaves.py"
    test_file.write_text(
        "import subprocess\n"
        "def test_leaves():\n"
        "    child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
    )
    options = ["-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "-c", os.devnull]
    assert pytest_run.run_pytest(os.environ, [*options, str(test_file)], workers=1) == 0
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert "ended a process that a test left running: sleep 600" in capfd.readouterr().err
