"""Faults of single processes and connections.

* kill: SIGKILL. The supervisor restarts the process.
* connection: for a while, the proxy of a service cuts all connections and refuses new ones, or forwards nothing. The
  clients wait and reconnect.
* disk: a dataflow cannot write a file beyond a few kilobytes (RLIMIT_FSIZE), so its recovery store is full. It exits
  with an error, and is restarted with space.
* clock: the wall clock of a process jumps (`preload/sitecustomize.py`). This must have no effect.
* scale: a dataflow by shard gets another number of processes. It continues with its state.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from typing import Final

from dataflows.runtime.topology import SERVICES
from deploy.chaos.fault import Fault, FaultRun, PlannedFault
from deploy.chaos.stack import ChaosStack
from deploy.errors import DeployError
from deploy.supervisor import control
from deploy.supervisor.process_spec import DATAFLOW_NAMES, SERVICE_NAMES

TARGETS: Final = (*DATAFLOW_NAMES, "api", *SERVICE_NAMES)
_DISK_ROOM_BYTES, _DISK_WITHIN_S, _DISK_SLICES = 16_384, 60.0, 60
_KILL_WITHIN_S = 60.0
_KILLS_DURING_START = 2
"""The supervisor stops to restart a process after six exits without a healthy period. In the layout `compact`, nine
targets are one process: after so many restarts, the next kill waits until it is healthy."""
_MINUTE_S, _MONTH_S = 60.0, 30 * 86_400.0


def _kill(run: FaultRun, fault: PlannedFault) -> str:
    child = draw_child(run.stack, fault)
    if run.stack.restarts_of(fault.target) % (_KILLS_DURING_START + 1) == _KILLS_DURING_START:
        run.stack.wait_until_healthy(child)
    kill_child(run.stack, child)
    return f"SIGKILL to {child}"


def _connection(run: FaultRun, fault: PlannedFault) -> str:
    proxy = run.stack.proxies[fault.target]
    seconds = 0.3 + 2.0 * (fault.draw * 7 % 1)
    if fault.draw < 0.5:
        return f"{proxy.cut(seconds)} connections cut, new ones refused for {seconds:.1f} s"
    proxy.pause(seconds)
    return f"nothing forwarded for {seconds:.1f} s"


def _disk(run: FaultRun, fault: PlannedFault) -> str:
    stack = run.stack
    child = draw_child(stack, fault)
    # A paused process would not write, and so not notice the full disk.
    run.pace.allow(_DISK_SLICES)
    pid = stack.wait_for_pid(child)
    log = stack.home.logs / f"{child}.log"
    # The log is also a file of the process, and must have space for the final error.
    limit_bytes = max(_DISK_ROOM_BYTES, log.stat().st_size + _DISK_ROOM_BYTES)
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit_bytes, hard))
    _require_ended(stack, child, pid, _DISK_WITHIN_S)
    return f"{child} could not write files beyond {limit_bytes // 1024} kB and exited"


def _clock(run: FaultRun, fault: PlannedFault) -> str:
    child = draw_child(run.stack, fault)
    size_s = _MINUTE_S * (_MONTH_S / _MINUTE_S) ** (fault.draw * 11 % 1)
    offset_s = size_s if fault.draw < 0.5 else -size_s
    shift_clock(run.stack, child, offset_s)
    return f"the clock of {child} jumped by {offset_s / 3600:+.2f} h"


def shift_clock(stack: ChaosStack, child: str, offset_s: float, timeout_s: float = 60.0) -> None:
    """Shift the clock of a process, which may have started just now. Raises DeployError if it gets no fake clock."""
    deadline = time.monotonic() + timeout_s
    while True:
        pid = stack.wait_for_pid(child)
        try:
            return stack.set_clock(pid, offset_s)
        except FileNotFoundError as error:
            if time.monotonic() > deadline:
                raise DeployError(
                    f"cannot set the clock of {child} (pid {pid}): its process did not load the fake clock"
                ) from error
        time.sleep(0.05)


def _scale(run: FaultRun, fault: PlannedFault) -> str:
    current_count = len(run.stack.children(fault.target))
    target_count = 3 if current_count == 1 else 1 if current_count == 3 else 2
    control.scale_one(run.stack.home, fault.target, target_count)
    return f"{fault.target} from {current_count} to {target_count} processes"


KILL = Fault(TARGETS, _kill, kills_per_fault=1)
CONNECTION = Fault(SERVICE_NAMES, _connection)
DISK = Fault(DATAFLOW_NAMES, _disk)
CLOCK = Fault((*DATAFLOW_NAMES, "api"), _clock)
SCALE = Fault(tuple(name for name, described in SERVICES.items() if described.by_shard), _scale)


def draw_child(stack: ChaosStack, fault: PlannedFault) -> str:
    """Return the name of one process of the target."""
    children = stack.children(fault.target)
    return children[int(fault.draw * 1000) % len(children)].name


def kill_child(stack: ChaosStack, child: str) -> int:
    """Send SIGKILL to a process of the platform, and return its pid. Raises DeployError if it does not end."""
    pid = stack.wait_for_pid(child)
    os.kill(pid, signal.SIGKILL)
    _require_ended(stack, child, pid, _KILL_WITHIN_S)
    return pid


def _require_ended(stack: ChaosStack, child: str, pid: int, timeout_s: float) -> None:
    if not stack.wait_until_ended(child, pid, timeout_s):
        raise DeployError(
            f"{child} (pid {pid}) is still running {timeout_s:.0f} s after the fault, expected it to exit"
        )
