"""Plan the faults of a run: a pure function of the seed, so that the run can be repeated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from dataflows.runtime.topology import Layout
from deploy.chaos.fault import Fault, FaultKind, PlannedFault
from deploy.chaos.faults import brokers, disks, operators, processes, state, strategies, supervision
from deploy.errors import DeployError

FAULTS: dict[FaultKind, Fault] = {
    "kill": processes.KILL,
    "connection": processes.CONNECTION,
    "disk": processes.DISK,
    "clock": processes.CLOCK,
    "scale": processes.SCALE,
    "command": operators.COMMAND,
    "kill_switch": operators.KILL_SWITCH,
    "strategy": strategies.STRATEGY,
    "model": strategies.MODEL,
    "instance": state.INSTANCE,
    "supervisor": supervision.SUPERVISOR,
    "store": state.STORE,
    "space": disks.SPACE,
    "broker": brokers.BROKER,
}
KINDS = tuple(FAULTS)
TARGETS = (*processes.TARGETS, brokers.SERVER)
_FIRST_SHARE, _LAST_SHARE = 0.03, 0.82
"""The rest of the tape is for the time slices in which the last commands take effect."""


def possible_kinds(layout: Layout, *, has_broker: bool) -> list[FaultKind]:
    """Return the faults that are possible in a layout.

    In `compact`, the services of the shared process cannot be scaled. The fault `kill_switch` stops the process that
    runs an upstream dataflow: with the simulated venue, that process also confirms the halt.

    >>> set(KINDS) - set(possible_kinds(Layout.COMPACT, has_broker=True))
    {'scale'}
    """
    if layout is not Layout.COMPACT:
        return list(KINDS)
    impossible: tuple[FaultKind, ...] = ("scale",) if has_broker else ("scale", "kill_switch")
    return [kind for kind in KINDS if kind not in impossible]


def plan_faults(seed: int, kills: int, kinds: Sequence[FaultKind], targets: Sequence[str]) -> list[PlannedFault]:
    """Return the faults in order of the tape, as a pure function of the arguments. Targets take turns in random order.

    Raises DeployError if a chosen kind cannot hit any of the chosen targets.
    """
    rng = random.Random(f"chaos/{seed}")  # noqa: S311  (faults must be reproducible, not secret)
    drawn: list[tuple[FaultKind, str]] = []
    for kind in kinds:
        fault = FAULTS[kind]
        possible = [target for target in fault.targets if target in targets]
        if not possible:
            expected = ", ".join(fault.targets)
            raise DeployError(f"fault {kind} needs one of the services {expected}, found {', '.join(targets)}")
        rng.shuffle(possible)
        count = kills if kind == "kill" else max(1, kills // fault.kills_per_fault)
        drawn += [(kind, possible[number % len(possible)]) for number in range(count)]
    rng.shuffle(drawn)
    slot = (_LAST_SHARE - _FIRST_SHARE) / max(1, len(drawn))
    return [
        PlannedFault(_FIRST_SHARE + slot * (number + rng.random()), kind, target, rng.random())
        for number, (kind, target) in enumerate(drawn)
    ]


def fault_counts(faults: Sequence[PlannedFault]) -> dict[str, dict[str, int]]:
    """Count the faults by target and kind, `{target: {kind: count}}`, in the order of `TARGETS`."""
    counts = Counter((fault.target, fault.kind) for fault in faults)
    return {
        target: {kind: counts[target, kind] for kind in KINDS}
        for target in TARGETS
        if any(counts[target, kind] for kind in KINDS)
    }
