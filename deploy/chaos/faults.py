"""Plan the faults from a seed, and inject them.

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
import random
import resource
import signal
import struct
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from dataflows.runtime.topology import SERVICES
from deploy.chaos.stack import ChaosStack
from deploy.errors import DeployError
from deploy.supervisor import control
from deploy.supervisor.process_spec import DATAFLOW_NAMES, SERVICE_NAMES

KILL, CONNECTION, DISK, CLOCK, SCALE = "kill", "connection", "disk", "clock", "scale"
KINDS = (KILL, CONNECTION, DISK, CLOCK, SCALE)
TARGETS = (*DATAFLOW_NAMES, "api", *SERVICE_NAMES)
_TARGETS_BY_KIND: dict[str, tuple[str, ...]] = {
    KILL: TARGETS,
    CONNECTION: SERVICE_NAMES,
    DISK: DATAFLOW_NAMES,
    CLOCK: (*DATAFLOW_NAMES, "api"),
    SCALE: tuple(name for name, described in SERVICES.items() if described.by_shard),
}
KILLS_PER_OTHER_FAULT = 5
"""Number of kills per fault of each other kind. There is at least one of each kind."""
_DISK_ROOM_BYTES, _DISK_WITHIN_S = 16_384, 30.0
_MINUTE_S, _MONTH_S = 60.0, 30 * 86_400.0


class PlannedFault(NamedTuple):
    """A fault at a `share` of the tape, from 0 to 1. `draw` in [0, 1) determines its details."""

    share: float
    kind: str
    target: str
    draw: float


def plan_faults(seed: int, kills: int, kinds: Sequence[str], targets: Sequence[str]) -> list[PlannedFault]:
    """Return the faults in order of the tape, as a pure function of the arguments. Targets take turns in random order.

    Raises DeployError if a chosen kind cannot hit any of the chosen targets.
    """
    rng = random.Random(f"chaos/{seed}")  # noqa: S311  (faults must be reproducible, not secret)
    drawn: list[tuple[str, str]] = []
    for kind in kinds:
        possible = [target for target in _TARGETS_BY_KIND[kind] if target in targets]
        if not possible:
            expected = ", ".join(_TARGETS_BY_KIND[kind])
            raise DeployError(f"fault {kind} needs one of the services {expected}, found {', '.join(targets)}")
        rng.shuffle(possible)
        count = kills if kind == KILL else max(1, kills // KILLS_PER_OTHER_FAULT)
        drawn += [(kind, possible[number % len(possible)]) for number in range(count)]
    rng.shuffle(drawn)
    slot = 0.9 / max(1, len(drawn))
    return [
        PlannedFault(0.03 + slot * (number + rng.random()), kind, target, rng.random())
        for number, (kind, target) in enumerate(drawn)
    ]


def inject_fault(stack: ChaosStack, fault: PlannedFault) -> str:
    """Inject a fault, and return a short description of it. Raises DeployError if the fault had no effect."""
    return _INJECTORS[fault.kind](stack, fault)


def _kill(stack: ChaosStack, fault: PlannedFault) -> str:
    child = _draw_child(stack, fault)
    pid = stack.wait_for_pid(child)
    os.kill(pid, signal.SIGKILL)
    _require_ended(stack, child, pid, 10.0)
    return f"SIGKILL to {child}"


def _connection(stack: ChaosStack, fault: PlannedFault) -> str:
    proxy = stack.proxies[fault.target]
    seconds = 0.3 + 2.0 * (fault.draw * 7 % 1)
    if fault.draw < 0.5:
        return f"{proxy.cut(seconds)} connections cut, new ones refused for {seconds:.1f} s"
    proxy.pause(seconds)
    return f"nothing forwarded for {seconds:.1f} s"


def _disk(stack: ChaosStack, fault: PlannedFault) -> str:
    child = _draw_child(stack, fault)
    pid = stack.wait_for_pid(child)
    log = stack.home.logs / f"{child}.log"
    # The log is also a file of the process, and must have space for the final error.
    limit_bytes = max(_DISK_ROOM_BYTES, log.stat().st_size + _DISK_ROOM_BYTES)
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit_bytes, hard))
    _require_ended(stack, child, pid, _DISK_WITHIN_S)
    return f"{child} could not write files beyond {limit_bytes // 1024} kB and exited"


def _clock(stack: ChaosStack, fault: PlannedFault) -> str:
    child = _draw_child(stack, fault)
    pid = stack.wait_for_pid(child)
    size_s = _MINUTE_S * (_MONTH_S / _MINUTE_S) ** (fault.draw * 11 % 1)
    offset_s = size_s if fault.draw < 0.5 else -size_s
    try:
        with (stack.clocks / str(pid)).open("r+b") as file:
            file.write(struct.pack("d", offset_s))
    except FileNotFoundError as error:
        raise DeployError(
            f"cannot set the clock of {child} (pid {pid}): its process did not load the fake clock"
        ) from error
    return f"the clock of {child} jumped by {offset_s / 3600:+.2f} h"


def _scale(stack: ChaosStack, fault: PlannedFault) -> str:
    current_count = len(stack.children(fault.target))
    target_count = 3 if current_count == 1 else 1 if current_count == 3 else 2
    control.scale_one(stack.home, fault.target, target_count)
    return f"{fault.target} from {current_count} to {target_count} processes"


_INJECTORS = {KILL: _kill, CONNECTION: _connection, DISK: _disk, CLOCK: _clock, SCALE: _scale}


def _draw_child(stack: ChaosStack, fault: PlannedFault) -> str:
    """Return the name of one process of the target."""
    children = stack.children(fault.target)
    return children[int(fault.draw * 1000) % len(children)].name


def _require_ended(stack: ChaosStack, child: str, pid: int, timeout_s: float) -> None:
    if not stack.wait_until_ended(child, pid, timeout_s):
        raise DeployError(
            f"{child} (pid {pid}) is still running {timeout_s:.0f} s after the fault, expected it to exit"
        )


def fault_counts(faults: Sequence[PlannedFault]) -> dict[str, dict[str, int]]:
    """Count the faults by target and kind, `{target: {kind: count}}`, in the order of `TARGETS`."""
    counts = Counter((fault.target, fault.kind) for fault in faults)
    return {
        target: {kind: counts[target, kind] for kind in KINDS}
        for target in TARGETS
        if any(counts[target, kind] for kind in KINDS)
    }
