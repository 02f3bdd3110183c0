"""`test-env` keeps services between runs and leaves nothing behind; `test --coverage` says what was reached."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from tests.e2e.started import Started

pytestmark = pytest.mark.timeout(300)


def test_services_stay_between_runs_and_go_with_the_cleanup(tmp_path: Path) -> None:
    machine = Started(tmp_path / "home")
    assert "there is no test environment" in machine.refuses("test-env", "run", status=1)
    told = machine.tells("test-env", "setup")
    try:
        state = json.loads((tmp_path / "home" / "test-env" / "run" / "test-env.json").read_text())
        holder = psutil.Process(state["pid"])
        servers = holder.children(recursive=True)
        assert len(servers) >= 3
        for _ in range(2):
            assert "passed" in machine.says("test-env", "run", "-q", "tests/integration/test_redis.py")
        assert machine.tells("test-env", "setup") == told, "a second setup finds the first"
        machine.says("test-env", "run", "-q", "tests/unit/no_such_test.py", status=4)
    finally:
        assert "removed" in machine.says("test-env", "cleanup")
    assert not (tmp_path / "home" / "test-env").exists()
    assert not [process for process in (holder, *servers) if runs(process)]
    assert "there was no test environment" in machine.says("test-env", "cleanup")


def runs(process: psutil.Process) -> bool:
    """A zombie has ended; who started it may not have looked yet."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_coverage_is_kept_and_said_with_its_target(tmp_path: Path) -> None:
    machine = Started(tmp_path / "home")
    done = machine.cli("test", "--coverage", "-q", "tests/unit/test_money.py", "tests/unit/test_secrets.py", TZ="UTC")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "home" / "coverage"
    totals = json.loads((folder / "coverage.json").read_text())
    assert f"the tests reach {totals['totals']['percent_covered']:.1f} % of the lines (target 95 %)" in done.stderr
    assert (folder / "html" / "index.html").exists()
    # Only run by a process that a test started: it counts too.
    reached = totals["files"][os.path.join("deploy", "commands", "secrets.py")]["summary"]["percent_covered"]
    assert reached > 80
