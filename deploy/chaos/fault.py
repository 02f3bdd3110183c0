"""The interface of a fault, and what a fault may use: the platform, its feed and the commands that it sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from deploy.chaos.pace import Pace
from deploy.chaos.stack import ChaosStack
from schemas.records import Command, Record

FaultKind = Literal[
    "kill",
    "connection",
    "disk",
    "clock",
    "scale",
    "command",
    "kill_switch",
    "strategy",
    "model",
    "instance",
    "supervisor",
    "store",
    "space",
    "broker",
]


class PlannedFault(NamedTuple):
    """A fault at a `share` of the tape, from 0 to 1. `draw` in [0, 1) determines its details."""

    share: float
    kind: FaultKind
    target: str
    draw: float


class Halt(NamedTuple):
    """A halt of the kill switch and its release: the ids of their commands."""

    command_id: str
    release_id: str


class RaisingPlan(NamedTuple):
    """A strategy that raises on the bars of the minute from `raises_ns` on. `service` runs it."""

    name: str
    raises_ns: int
    service: str = "signals"


@dataclass
class FaultRun:
    """The run that faults are injected into.

    `commands` are the commands that faults sent, `halts` those of the kill switch, `raising` the strategy that raises
    for each fault of this kind, and `model_hash` is the sha256 of the registered model ("" if there is none).
    `orders_at_broker` are the orders that a broker has received, at the end of the run.
    """

    stack: ChaosStack
    pace: Pace
    commands: list[Command] = field(default_factory=list)
    halts: list[Halt] = field(default_factory=list)
    raising: Mapping[PlannedFault, RaisingPlan] = field(default_factory=dict)
    model_hash: str = ""
    orders_at_broker: Sequence[Mapping[str, Any]] = ()


class RunEvidence(NamedTuple):
    """What a run left behind: the records of each topic without repeats, and the faults that were injected."""

    run: FaultRun
    records: Mapping[str, Sequence[Record]]
    injected: Sequence[PlannedFault]

    def injected_of(self, kind: FaultKind) -> list[PlannedFault]:
        return [fault for fault in self.injected if fault.kind == kind]


def _nothing_to_find(evidence: RunEvidence) -> str | None:
    return None


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    targets          the services that it can hit
    inject           injects it, checks its immediate effect and returns a short description; raises DeployError if it
                     had no effect or another one than promised
    find_problem     checks after the run what the comparison with the uninterrupted run cannot show; returns a sentence
                     or None
    kills_per_fault  number of kills per fault of this kind in a run; there is at least one
    tape_s           seconds that the tape takes longer for each fault of this kind
    """

    targets: tuple[str, ...]
    inject: Callable[[FaultRun, PlannedFault], str]
    find_problem: Callable[[RunEvidence], str | None] = _nothing_to_find
    kills_per_fault: int = 5
    tape_s: float = 1.0
