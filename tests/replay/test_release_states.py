"""Upgrades in the middle of a session: the current stages continue from the recovery stores of an earlier release."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from schemas.codec import decode
from schemas.records import Execution, Order
from schemas.records.prose import comparable
from tests.replay.release_states import RELEASES, ReleasePipeline, ReleaseStates, session_slices
from tests.replay.runs import pinned_settings

FILES = sorted(RELEASES.glob("*.pickle"))


def load_states(file: Path) -> ReleaseStates:
    return ReleaseStates(*pickle.loads(file.read_bytes()))  # noqa: S301  (a file of our own)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_upgrade_in_the_middle_of_a_session_changes_no_decision(file: Path) -> None:
    """The current stages that ran from the start are the reference: all releases since then decide the same."""
    states, time_slices = load_states(file), session_slices()
    uninterrupted, upgraded, fresh = (
        ReleasePipeline(pinned_settings()),
        ReleasePipeline(pinned_settings()),
        ReleasePipeline(pinned_settings()),
    )
    for time_slice in time_slices[: states.slice_count]:
        uninterrupted.on_slice(time_slice)
    upgraded.restore(states)
    later = time_slices[states.slice_count :]
    expected = [comparable(record) for time_slice in later for record in uninterrupted.on_slice(time_slice)]
    assert [comparable(record) for time_slice in later for record in upgraded.on_slice(time_slice)] == expected
    assert len([record for record in expected if type(record) is Execution]) > 10
    assert [comparable(record) for time_slice in later for record in fresh.on_slice(time_slice)] != expected


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_release_states_include_positions_a_resting_order_and_a_pending_order(file: Path) -> None:
    """Without such states the test above would prove less than it appears to."""
    states = load_states(file)
    assert any(type(decode(message)) is Order for message in states.pending_messages)
    upgraded = ReleasePipeline(pinned_settings())
    upgraded.restore(states)
    assert "'ord-cmd-70'" in repr(upgraded.stage_by_service["execution"].snapshot())
    assert "'lot-" in repr(upgraded.stage_by_service["portfolio"].snapshot())
