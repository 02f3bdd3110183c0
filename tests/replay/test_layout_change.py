"""A platform that changes its layout in the middle of a tape writes the records of an uninterrupted run."""

from __future__ import annotations

import pickle
from datetime import time
from typing import Any

import pytest

from configs.settings import Settings
from dataflows.replay.layout_stores import compact_state, offsets_behind_clocks, service_states
from dataflows.runtime import topology
from operators.stage import TimeSlice
from schemas.errors import BadInput
from tests.replay.compact_runs import MemoryTopics, compact_stages, feed_from, state_of, write_slices
from tests.replay.in_memory_platform import InMemoryPlatform, Logs, ServiceShard
from tests.replay.market import MONDAY, write_market
from tests.replay.record import with_commands
from tests.replay.runs import read_time_slices
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
def expected(settings: Settings, time_slices: list[TimeSlice]) -> dict[str, list[str]]:
    return InMemoryPlatform(settings, time_slices, partitions=PARTITIONS, seed=1).run().contents()


def staged_states(shards: list[ServiceShard]) -> dict[str, dict[str, Any]]:
    states: dict[str, dict[str, Any]] = {}
    for shard in shards:
        states.setdefault(shard.service, {})[shard.shard] = state_of(shard)
    return states


def run_staged(settings: Settings, logs: Logs, states: dict[str, dict[str, Any]]) -> list[ServiceShard]:
    """Continue the services from their states until no shard moves. Return the shards."""
    shards = [
        ServiceShard(service, shard, settings, logs)
        for service in topology.STAGED_SERVICES
        for shard in topology.shards(service, PARTITIONS)
    ]
    for shard in shards:
        if states:
            shard.snapshot = pickle.dumps(states[shard.service][shard.shard])
            shard.crash()
    moved = True
    while moved:
        moved = False
        for shard in shards:
            for log_name in shard.unread_logs():
                shard.feed(log_name, 10**6)
            moved = shard.step(10**6) or moved
    return shards


@pytest.mark.parametrize("first", [1, 20, 45])
@pytest.mark.parametrize("repeated", [0, 3])
def test_a_change_in_both_directions_changes_no_record(
    settings: Settings, time_slices: list[TimeSlice], expected: dict[str, list[str]], first: int, repeated: int
) -> None:
    """With `repeated`, the compact process is killed after so many time slices without a snapshot."""
    logs, second = Logs(PARTITIONS), first + 10
    topics = MemoryTopics(logs)
    logs.write("market_data", topology.FEED_SHARD, time_slices[:first])
    states = staged_states(run_staged(settings, logs, {}))
    stages = compact_stages(settings, PARTITIONS, compact_state(topics, states, time_slices[first - 1].ts_ns))
    logs.write("market_data", topology.FEED_SHARD, time_slices[first:second])
    feed_from(stages, logs)
    write_slices(logs, stages.take_slices(second - first - repeated))
    snapshot = pickle.loads(pickle.dumps(stages.snapshot()))  # noqa: S301  (written here)
    write_slices(logs, stages.take_slices(repeated))
    assert stages.passed_ns == time_slices[second - 1].ts_ns
    converted = service_states(topics, snapshot)
    logs.write("market_data", topology.FEED_SHARD, time_slices[second:])
    run_staged(settings, logs, converted)
    assert logs.contents() == expected


def test_a_state_that_is_converted_there_and_back_is_the_same(settings: Settings, time_slices: list[TimeSlice]) -> None:
    logs = Logs(PARTITIONS)
    logs.write("market_data", topology.FEED_SHARD, time_slices[:30])
    states, topics = staged_states(run_staged(settings, logs, {})), MemoryTopics(logs)
    assert service_states(topics, compact_state(topics, states, time_slices[29].ts_ns)) == states


def test_the_states_of_both_layouts_are_equal_apart_from_the_offsets(
    settings: Settings, time_slices: list[TimeSlice]
) -> None:
    logs = Logs(PARTITIONS)
    logs.write("market_data", topology.FEED_SHARD, time_slices)
    states = staged_states(run_staged(settings, logs, {}))
    stages = compact_stages(settings, PARTITIONS)
    feed_from(stages, logs)
    stages.take_slices(len(time_slices))
    assert service_states(MemoryTopics(logs), stages.snapshot()) == states


def test_a_topic_without_the_clock_of_the_time_slice_is_rejected(
    settings: Settings, time_slices: list[TimeSlice]
) -> None:
    logs = Logs(PARTITIONS)
    logs.write("market_data", topology.FEED_SHARD, time_slices[:5])
    states = staged_states(run_staged(settings, logs, {}))
    logs.messages["orders", 0].pop()
    with pytest.raises(BadInput, match="topic orders/0 has no clock of time slice"):
        compact_state(MemoryTopics(logs), states, time_slices[4].ts_ns)
    with pytest.raises(BadInput, match="topic orders/0 has no clock of time slice"):
        offsets_behind_clocks(MemoryTopics(logs), {("orders", 0): {time_slices[4].ts_ns}})
