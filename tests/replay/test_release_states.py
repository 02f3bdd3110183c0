"""An upgrade in the middle of a session: today's stages go on from what a release's recovery stores hold."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from schemas.codec import decode
from schemas.records import Execution, Order
from tests.replay.release_states import RELEASES, Stages, States, session
from tests.replay.runs import settings

FILES = sorted(RELEASES.glob("*.pickle"))


def states_of(file: Path) -> States:
    return States(*pickle.loads(file.read_bytes()))  # noqa: S301  (a file of our own)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_upgrade_in_the_middle_of_a_session_changes_no_decision(file: Path) -> None:
    """Compared with today's stages that ran from the start: the releases since decide alike."""
    states, ticks = states_of(file), session()
    whole, upgraded, fresh = Stages(settings()), Stages(settings()), Stages(settings())
    for tick in ticks[: states.ticks]:
        whole.on_tick(tick)
    upgraded.restore(states)
    expected = [record for tick in ticks[states.ticks :] for record in whole.on_tick(tick)]
    assert [record for tick in ticks[states.ticks :] for record in upgraded.on_tick(tick)] == expected
    assert len([record for record in expected if type(record) is Execution]) > 10
    assert [record for tick in ticks[states.ticks :] for record in fresh.on_tick(tick)] != expected


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_states_of_a_release_hold_positions_a_resting_order_and_one_on_its_way(file: Path) -> None:
    """Or the equality above would say less than it seems to."""
    states = states_of(file)
    assert any(type(decode(message)) is Order for message in states.waiting)
    upgraded = Stages(settings())
    upgraded.restore(states)
    assert "'ord-cmd-70'" in repr(upgraded.of["execution"].snapshot())
    assert "'lot-" in repr(upgraded.of["portfolio"].snapshot())
