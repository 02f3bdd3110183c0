"""Test of `cli.py chaos`: a supervised platform under faults writes the same tables and topics as the fused run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflows.runtime.topology import Layout
from deploy.chaos.schedule import possible_kinds
from deploy.home import REPOSITORY

pytestmark = pytest.mark.timeout(2700)
SHORT_RUN = "kill,connection,disk,clock,scale,command"
ON_TAPE = f"{SHORT_RUN},kill_switch,strategy,model,instance,supervisor,store,space"
WITH_BROKER = "kill,command,kill_switch,instance,supervisor,store,broker"
COMPACT = ",".join(kind for kind in ON_TAPE.split(",") if kind in possible_kinds(Layout.COMPACT, has_broker=False))
"""In the layout `compact`, `kill_switch` needs a broker and `scale` is not possible."""
SHORT_RUN_SERVICES = "market_data,news,fundamentals,sentiment,signals,feedback,portfolio,postgres"


def run_chaos(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run the command and return its exit code, its result and its progress output."""
    completed = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "chaos", "--json", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=2400,
    )
    assert completed.stdout, completed.stderr
    return completed.returncode, json.loads(completed.stdout), completed.stderr


@pytest.mark.parametrize(
    "options",
    [
        # This seed kills news, sentiment and feedback, fills the disk of feedback and scales signals.
        ("--seed", "24", "--kills", "3", "--minutes", "150", "--services", SHORT_RUN_SERVICES, "--faults", SHORT_RUN),
        pytest.param(("--seed", "12", "--kills", "20", "--faults", ON_TAPE), marks=pytest.mark.long),
        pytest.param(("--seed", "12", "--kills", "10", "--faults", WITH_BROKER), marks=pytest.mark.long),
        *(
            pytest.param(
                ("--layout", "compact", "--seed", seed, "--kills", "20", "--faults", COMPACT), marks=pytest.mark.long
            )
            for seed in ("12", "13", "14")
        ),
        pytest.param(
            ("--layout", "compact", "--seed", "12", "--kills", "10", "--faults", WITH_BROKER), marks=pytest.mark.long
        ),
    ],
    ids=["short", "long", "broker", "compact 12", "compact 13", "compact 14", "compact broker"],
)
def test_faults_leave_every_table_and_topic_as_an_uninterrupted_run(
    kafka: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    """Request `kafka` only so that the test fails at once under plain pytest."""
    status, result, progress = run_chaos(*options, "--keep", str(tmp_path / "kept"))
    assert status == 0, f"{result['difference']}\n{progress}"
    fault_kinds = {fault["kind"] for fault in result["struck"]}
    assert fault_kinds == set(options[-1].split(","))
    assert result["restarts"] >= 3
    assert result["repeats"] > 0, "somebody was hit in the middle of the run"
    assert result["topics"] > 10
    assert result["rows"] > 1000
