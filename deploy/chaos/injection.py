"""Inject the planned faults into a running platform, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from deploy.chaos.fault import FaultRun, PlannedFault
from deploy.chaos.result import InjectedFault, RunComparison
from deploy.chaos.schedule import FAULTS

PrintLine = Callable[[str], None]


class RunOutcome(NamedTuple):
    injected: list[InjectedFault]
    comparison: RunComparison
    restarts: int


def inject_faults(
    run: FaultRun, faults: Sequence[PlannedFault], print_line: PrintLine, *, before: Callable[[], None] = lambda: None
) -> list[InjectedFault]:
    """Inject each fault when the run reaches its place. `before` is called just before each.

    Raises DeployError with the fault if it had no effect or another one than promised.
    """
    started_at, injected = time.monotonic(), []
    for fault in faults:
        run.pace.go_to(fault.share)
        before()
        effect = FAULTS[fault.kind].inject(run, fault)
        injected.append(InjectedFault(fault, effect, round(time.monotonic() - started_at, 1)))
        place = f"{injected[-1].at_s:6.1f} s  {100 * fault.share:3.0f} % of the run"
        print_line(f"{place}  {fault.kind} {fault.target}: {effect}")
    return injected
