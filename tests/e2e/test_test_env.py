"""`test-env` keeps services between runs and its cleanup removes them; `test --coverage` reports the coverage."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import psutil
import pytest

from deploy.home import REPOSITORY
from tests.e2e.cli_platform import CliPlatform

pytestmark = pytest.mark.timeout(900)


def test_services_persist_between_runs_until_cleanup(tmp_path: Path) -> None:
    platform = CliPlatform(tmp_path / "home")
    assert "no test environment is running" in platform.run_error("test-env", "run", status=1)
    endpoints = platform.run_json("test-env", "setup")
    try:
        state = json.loads((tmp_path / "home" / "test-env" / "run" / "test-env.json").read_text())
        keeper_process = psutil.Process(state["pid"])
        server_processes = keeper_process.children(recursive=True)
        assert len(server_processes) >= 3
        for _ in range(2):
            assert "passed" in platform.run("test-env", "run", "-q", "tests/integration/test_redis.py")
        assert platform.run_json("test-env", "setup") == endpoints, "a second setup finds the first"
        platform.run("test-env", "run", "-q", "tests/unit/no_such_test.py", status=4)
    finally:
        assert "removed" in platform.run("test-env", "cleanup")
    assert not (tmp_path / "home" / "test-env").exists()
    assert not [process for process in (keeper_process, *server_processes) if is_running(process)]
    assert "there was no test environment" in platform.run("test-env", "cleanup")


def is_running(process: psutil.Process) -> bool:
    """Whether a process runs. A zombie has ended, even if its parent has not reaped it yet."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def coverage_of_commands(file: Path) -> Path:
    """Write the project's configuration of coverage, for the commands alone. The report of all takes half a minute."""
    run = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["coverage"]["run"]
    assert "deploy" in run.pop("source")
    settings = {"source": [str(REPOSITORY / "deploy" / "commands")], **run}
    # The values are booleans, strings and lists of strings, which TOML writes as JSON does.
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    file.write_text("\n".join(["[tool.coverage.run]", *lines, ""]))
    return file


def test_coverage_is_stored_and_reported_with_its_target(tmp_path: Path) -> None:
    platform = CliPlatform(tmp_path / "home")
    completed = platform.cli(
        *("test", "--coverage", "--workers", "2", "-q"),
        f"--cov-config={coverage_of_commands(tmp_path / 'coverage.toml')}",
        "tests/unit/test_minutes.py",
        "tests/unit/test_secrets.py",
        TZ="UTC",
    )
    assert completed.returncode == 0, completed.stderr
    folder = tmp_path / "home" / "coverage"
    totals = json.loads((folder / "coverage.json").read_text())
    assert f"line coverage {totals['totals']['percent_covered']:.1f} % (target 95 %)" in completed.stderr
    assert (folder / "html" / "index.html").exists()
    # Only a subprocess of a test runs this module: coverage includes subprocesses.
    covered_percent = totals["files"][os.path.join("deploy", "commands", "secrets.py")]["summary"]["percent_covered"]
    assert covered_percent > 80
