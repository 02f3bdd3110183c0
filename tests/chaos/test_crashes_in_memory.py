"""Every service dies again and again, without notice, between any two steps: the logs hold the same records."""

from __future__ import annotations

from datetime import time

import pytest

from operators.stage import Tick
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import feed_ticks, fused_hash, settings, staged_hash
from tests.replay.staged import Staged


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> list[Tick]:
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C", "D"), days=[MONDAY], opens=time(9), minutes=120, seed=3)
    return with_commands(feed_ticks(files))


@pytest.fixture(scope="module")
def undisturbed(ticks: list[Tick]) -> dict[str, list[str]]:
    return Staged(settings(), ticks, partitions=2, seed=0).run().contents()


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 60))])
def test_deaths_at_any_moment_leave_the_same_topics(
    seed: int, ticks: list[Tick], undisturbed: dict[str, list[str]]
) -> None:
    run = Staged(settings(), ticks, partitions=2, seed=seed, crashes=0.01)
    logs = run.run()
    assert run.deaths > 30
    assert logs.contents() == undisturbed
    assert staged_hash(logs) == fused_hash(ticks)
