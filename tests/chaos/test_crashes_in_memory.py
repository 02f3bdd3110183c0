"""Each service crashes many times, between any two steps, and the topics still contain the same records."""

from __future__ import annotations

from datetime import time

import pytest

from operators.stage import TimeSlice
from tests.replay.in_memory_platform import InMemoryPlatform
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import fused_hash, pinned_settings, read_time_slices, staged_hash


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C", "D"), days=[MONDAY], open_time=time(9), minutes=120, seed=3)
    return with_commands(read_time_slices(files))


@pytest.fixture(scope="module")
def expected_contents(time_slices: list[TimeSlice]) -> dict[str, list[str]]:
    return InMemoryPlatform(pinned_settings(), time_slices, partitions=2, seed=0).run().contents()


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 60))])
def test_crashes_at_any_time_leave_the_same_topics(
    seed: int, time_slices: list[TimeSlice], expected_contents: dict[str, list[str]]
) -> None:
    platform = InMemoryPlatform(pinned_settings(), time_slices, partitions=2, seed=seed, crash_rate=0.01)
    logs = platform.run()
    assert platform.crash_count > 30
    assert logs.contents() == expected_contents
    assert staged_hash(logs) == fused_hash(time_slices)
