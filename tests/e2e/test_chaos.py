"""`cli.py chaos` itself: a storm on a platform that the supervisor looks after leaves what the fused run leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.home import REPOSITORY

pytestmark = pytest.mark.timeout(1800)
SHORT_RUN_SERVICES = "market_data,news,fundamentals,sentiment,signals,feedback,portfolio,postgres"


def run_chaos(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, result, progress."""
    completed = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "chaos", "--json", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert completed.stdout, completed.stderr
    return completed.returncode, json.loads(completed.stdout), completed.stderr


@pytest.mark.parametrize(
    "options",
    [
        # Kills news, sentiment and feedback; feedback's disk is full and signals is scaled.
        ("--seed", "24", "--kills", "3", "--services", SHORT_RUN_SERVICES),
        pytest.param(("--seed", "12", "--kills", "20"), marks=pytest.mark.long),
    ],
    ids=["short", "long"],
)
def test_faults_leave_every_table_and_topic_as_an_uninterrupted_run(
    kafka: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    """(Asks for `kafka` so that plain pytest fails at once.)"""
    status, result, progress = run_chaos(*options, "--keep", str(tmp_path / "kept"))
    assert status == 0, f"{result['difference']}\n{progress}"
    fault_kinds = {fault["kind"] for fault in result["struck"]}
    assert fault_kinds == {"kill", "connection", "disk", "clock", "scale"}
    assert result["restarts"] >= 3
    assert result["repeats"] > 0, "somebody was hit in the middle of the tape"
    assert result["topics"] > 10
    assert result["rows"] > 1000
