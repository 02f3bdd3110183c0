"""The staged services decide what the fused backtest decides, whatever arrives first, on any number of shards."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from operators.stage import Tick
from schemas.records import Command
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import feed_ticks, fused_hash, settings, staged_hash
from tests.replay.staged import Staged


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> list[Tick]:
    """Pre-market into the regular session; the kill switch is pulled and let go on the way."""
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C", "D", "E"), days=[MONDAY], opens=time(9), minutes=150)
    return with_commands(feed_ticks(files))


@pytest.fixture(scope="module")
def fused(ticks: list[Tick]) -> str:
    return fused_hash(ticks)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_any_order_of_arrival_decides_the_same(ticks: list[Tick], fused: str, partitions: int, seed: int) -> None:
    assert staged_hash(Staged(settings(), ticks, partitions=partitions, seed=seed).run()) == fused


@pytest.mark.long
def test_two_whole_days_decide_the_same(tmp_path: Path) -> None:
    ticks = feed_ticks(write_market(tmp_path, symbols=("A", "B", "C", "D", "E", "F")))
    fused = fused_hash(ticks)
    for seed in range(5):
        assert staged_hash(Staged(settings(), ticks, partitions=4, seed=seed).run()) == fused


def test_the_commands_of_the_tape_change_what_is_decided(ticks: list[Tick], fused: str) -> None:
    """Or the equality above would say nothing of commands."""
    without = [Tick(t.ts_ns, [r for r in t.records if type(r) is not Command]) for t in ticks]
    assert fused_hash(without) != fused
