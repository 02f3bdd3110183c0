"""Run one test: run the platform with faults, and compare it with the uninterrupted result."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from dataflows.runtime.topology import Layout
from deploy.chaos.broker_run import run_with_broker
from deploy.chaos.fault import FaultKind
from deploy.chaos.injection import PrintLine
from deploy.chaos.result import ChaosResult
from deploy.chaos.schedule import plan_faults
from deploy.chaos.tape import MINUTES_MAX
from deploy.chaos.tape_run import run_on_tape


def run(
    seed: int,
    kills: int,
    kinds: Sequence[FaultKind],
    targets: Sequence[str],
    print_line: PrintLine,
    *,
    minutes: int = MINUTES_MAX,
    result_folder: Path | None = None,
    layout: Layout = Layout.SERVICES,
) -> ChaosResult:
    """Run the test of a seed on a tape of `minutes`; with the fault `broker`, on a broker and its live feed.

    With `result_folder`, its files are stored there, not deleted. Raises DeployError if the test cannot be run, or if
    the platform does not recover from a fault as promised.
    """
    started_at = time.monotonic()
    faults = plan_faults(seed, kills, kinds, targets)
    folder = result_folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        if "broker" in kinds:
            outcome = run_with_broker(folder, faults, print_line, layout)
        else:
            outcome = run_on_tape(folder, seed, minutes, faults, print_line, layout)
    finally:
        if result_folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return ChaosResult(
        seed=seed,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        injected=outcome.injected,
        **outcome.comparison._asdict(),
        restarts=outcome.restarts,
        elapsed_s=round(time.monotonic() - started_at, 1),
    )
