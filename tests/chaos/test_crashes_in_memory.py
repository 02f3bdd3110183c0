"""Every service dies again and again, without notice, between any two steps: the logs hold the same records."""

from __future__ import annotations

from datetime import time

import pytest

from dataflows import topology
from operators.stage import Tick
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import feed_ticks, fused_hash, settings, staged_hash
from tests.replay.staged import Logs, Staged


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> list[Tick]:
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C", "D"), days=[MONDAY], opens=time(9), minutes=120, seed=3)
    return with_commands(feed_ticks(files))


@pytest.fixture(scope="module")
def undisturbed(ticks: list[Tick]) -> dict[str, list[str]]:
    return contents(Staged(settings(), ticks, partitions=2, seed=0).run())


def contents(logs: Logs) -> dict[str, list[str]]:
    """Every topic's records, each once; partitions one after the other."""
    topics = {topic for service in topology.SERVICES.values() for topic in service.outputs} - {"commands"}
    return {topic: [repr(record) for record in logs.records(topic)] for topic in sorted(topics)}


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 60))])
def test_deaths_at_any_moment_leave_the_same_topics(
    seed: int, ticks: list[Tick], undisturbed: dict[str, list[str]]
) -> None:
    run = Staged(settings(), ticks, partitions=2, seed=seed, crashes=0.01)
    logs = run.run()
    assert run.deaths > 30
    assert contents(logs) == undisturbed
    assert staged_hash(logs) == fused_hash(ticks)
