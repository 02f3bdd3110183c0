"""The result of one run."""

from __future__ import annotations

from typing import Any, NamedTuple

from deploy.chaos.fault import PlannedFault
from deploy.chaos.schedule import fault_counts


class InjectedFault(NamedTuple):
    fault: PlannedFault
    effect: str
    at_s: float  # seconds since the platform became healthy


class RunComparison(NamedTuple):
    """`difference` is the first difference as a sentence, or None. The counts are those of the platform with faults."""

    difference: str | None
    topics: int
    messages: int  # in all topics, including repeated records and clocks
    repeats: int  # messages that readers discard
    tables: int
    rows: int


class ChaosResult(NamedTuple):
    """The fields of `RunComparison`, with the faults and the circumstances of the run."""

    seed: int
    date: str
    injected: list[InjectedFault]
    difference: str | None
    topics: int
    messages: int
    repeats: int
    tables: int
    rows: int
    restarts: int
    elapsed_s: float

    def as_tree(self) -> dict[str, Any]:
        tree = self._asdict()
        del tree["injected"]
        tree["struck"] = [{**each.fault._asdict(), "did": each.effect, "at_s": each.at_s} for each in self.injected]
        tree["times"] = fault_counts([each.fault for each in self.injected])
        return tree
