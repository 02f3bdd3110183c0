"""The supervisor is killed together with one dataflow; the next one takes over all processes that still run."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.chaos.fault import Fault, FaultRun, PlannedFault
from deploy.chaos.faults.processes import draw_child
from deploy.errors import DeployError
from deploy.supervisor.process_spec import DATAFLOW_NAMES


def _supervisor(run: FaultRun, fault: PlannedFault) -> str:
    stack = run.stack
    child = draw_child(stack, fault)
    stack.reset_clocks()
    stack.wait_until_running()
    before = stack.pids()
    stack.kill_supervisor(also=child)
    stack.start()
    if (problem := takeover_problem(before, stack.pids(), child)) is not None:
        raise DeployError(problem)
    return f"SIGKILL to the supervisor and {child}; the next one took over {len(before) - 1} processes"


def takeover_problem(before: Mapping[str, int | None], after: Mapping[str, int | None], killed: str) -> str | None:
    """Return which process the next supervisor did not take over or not restart, or None. The values are pids."""
    for name, pid in before.items():
        if name == killed:
            if after.get(name) in (None, pid):
                return f"{name} was killed and not restarted: its pid is {after.get(name)}"
        elif after.get(name) != pid:
            return f"{name} was not taken over: its pid was {pid} and is {after.get(name)}"
    return None


SUPERVISOR = Fault(DATAFLOW_NAMES, _supervisor, kills_per_fault=10, tape_s=4.0)
