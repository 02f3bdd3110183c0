"""The compact process writes the records of the services, and has their states, after any crash."""

from __future__ import annotations

from datetime import time

import pytest

from configs.settings import Settings
from operators.stage import TimeSlice
from tests.replay.compact_runs import run_compact
from tests.replay.in_memory_platform import InMemoryPlatform, Logs
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import read_time_slices, staged_hash
from tests.replay.test_staged_trading_strategies import settings_with_strategies

PARTITIONS = 2


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_with_strategies()


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    folder = tmp_path_factory.mktemp("market")
    files = write_market(folder, symbols=("A", "B", "C"), days=[MONDAY], open_time=time(9, 30), minutes=60)
    return with_commands(read_time_slices(files))


@pytest.fixture(scope="module")
def staged(settings: Settings, time_slices: list[TimeSlice]) -> Logs:
    return InMemoryPlatform(settings, time_slices, partitions=PARTITIONS, seed=1).run()


def test_compact_writes_the_messages_of_the_services(
    settings: Settings, time_slices: list[TimeSlice], staged: Logs
) -> None:
    logs = run_compact(settings, time_slices, PARTITIONS)
    assert logs.messages == staged.messages
    assert staged_hash(logs) == staged_hash(staged)


@pytest.mark.parametrize("crash_every", [1, 7])
def test_a_crash_after_any_time_slice_changes_no_record(
    settings: Settings, time_slices: list[TimeSlice], staged: Logs, crash_every: int
) -> None:
    logs = run_compact(settings, time_slices, PARTITIONS, crash_every=crash_every)
    assert logs.contents() == staged.contents()
