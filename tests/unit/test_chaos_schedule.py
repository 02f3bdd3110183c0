"""The faults of a chaos run are a function of its seed, hit every kind, and leave room at the end of the tape."""

from __future__ import annotations

from collections import Counter

import pytest

from deploy.chaos.fault_settings import raising_plans
from deploy.chaos.report import GUARANTEES
from deploy.chaos.schedule import FAULTS, KINDS, TARGETS, fault_counts, plan_faults
from deploy.errors import DeployError


def test_equal_seeds_plan_equal_faults() -> None:
    assert plan_faults(1, 20, KINDS, TARGETS) == plan_faults(1, 20, KINDS, TARGETS)
    assert plan_faults(1, 20, KINDS, TARGETS) != plan_faults(2, 20, KINDS, TARGETS)


@pytest.mark.parametrize("kills", [1, 3, 20])
def test_every_kind_occurs_at_its_rate_on_its_own_targets(kills: int) -> None:
    faults = plan_faults(7, kills, KINDS, TARGETS)
    counts = Counter(fault.kind for fault in faults)
    assert counts.keys() == set(KINDS)
    for kind, fault in FAULTS.items():
        assert counts[kind] == max(1, kills // fault.kills_per_fault), kind
    assert all(fault.target in FAULTS[fault.kind].targets for fault in faults)
    assert [fault.share for fault in faults] == sorted(fault.share for fault in faults)
    assert faults[0].share >= 0.03 and faults[-1].share < 0.82
    assert sum(sum(hits.values()) for hits in fault_counts(faults).values()) == len(faults)


def test_targets_take_turns() -> None:
    possible = FAULTS["kill"].targets
    faults = plan_faults(3, len(possible), ["kill"], TARGETS)
    assert sorted(fault.target for fault in faults) == sorted(possible)


def test_a_kind_without_a_possible_target_is_refused() -> None:
    with pytest.raises(DeployError, match="fault space needs one of the services kafka, postgres, found risk"):
        plan_faults(1, 1, ["kill", "space"], ["risk"])


def test_the_page_of_guarantees_explains_every_kind() -> None:
    page = GUARANTEES.read_text()
    assert [kind for kind in KINDS if f"\n| {kind} | " not in page] == []


def test_each_raising_strategy_raises_at_the_place_of_its_fault() -> None:
    faults = plan_faults(4, 20, ["kill", "strategy"], TARGETS)
    clocks = list(range(1000, 1390))
    plans = raising_plans(faults, clocks)
    assert [fault.kind for fault in plans] == ["strategy"] * 2
    assert len({plan.name for plan in plans.values()}) == 2
    for fault, plan in plans.items():
        assert plan.raises_ns == clocks[int(fault.share * 390)]
