"""The Bytewax source of a feed: speed, end, stop and resume, in a real dataflow where it matters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import AbortExecution
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main

from dataflows.runtime.topology import FEED_SHARD
from dataflows.sources.feed_source import FeedPartition, FeedSlices, FeedSource
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.simulator import Simulator
from operators.stage import TimeSlice
from schemas.errors import BadInput
from tests.manual_clock import ManualClock

SECOND_NS = 10**9
START_NS = 1_700_000_000 * SECOND_NS


def simulator(slice_count: int) -> Simulator:
    return Simulator(["A", "B"], 1, start_ns=START_NS, fast=True, end_after_slices=slice_count)


def partition(source: FeedSource, state: Any = None) -> FeedPartition:
    return source.build_part("in", FEED_SHARD, state)


def run(
    source: FeedSource, recovery: Path, on_slices: Callable[[list[TimeSlice]], None] = lambda _: None
) -> list[TimeSlice]:
    """Run a dataflow and return its output. A `TestingSink` repeats items that follow the last snapshot."""
    batches: list[FeedSlices] = []
    flow = Dataflow("feed_test")
    stream = op.input("in", flow, source)
    op.inspect("see", stream, lambda _step, item: on_slices(item[1]))
    op.output("out", stream, TestingSink(batches))
    run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(recovery)))
    return [time_slice for _, time_slices in batches for time_slice in time_slices]


def next_slices(feed_partition: FeedPartition) -> list[TimeSlice]:
    """Return the time slices of the next batch."""
    return [time_slice for _, time_slices in feed_partition.next_batch() for time_slice in time_slices]


@pytest.mark.parametrize("batch_slices", [1, 7, 1000])
def test_dataflow_receives_every_slice_and_ends(tmp_path: Path, batch_slices: int) -> None:
    init_db_dir(tmp_path, 1)
    source = FeedSource(lambda: simulator(50), batch_slices=batch_slices)
    assert run(source, tmp_path) == list(simulator(50))
    assert source.finished


def test_stop_leaves_nothing_to_replay_and_restart_continues(tmp_path: Path) -> None:
    init_db_dir(tmp_path, 1)
    received: list[TimeSlice] = []
    first = FeedSource(lambda: simulator(50), batch_slices=3, stop_requested=lambda: len(received) >= 20)
    before = run(first, tmp_path, received.extend)
    assert 20 <= len(before) < 50
    after = run(FeedSource(lambda: simulator(50), batch_slices=3), tmp_path)
    assert before + after == list(simulator(50))


def test_no_slices_between_a_stop_and_its_snapshot() -> None:
    stop_requested = [False]
    feed_partition = partition(
        FeedSource(lambda: simulator(50), batch_slices=5, stop_requested=lambda: stop_requested[0])
    )
    feed_partition.next_batch()
    feed_partition.snapshot()  # a snapshot before the stop does not count
    stop_requested[0] = True
    assert next_slices(feed_partition) == next_slices(feed_partition) == []
    state = feed_partition.snapshot()
    with pytest.raises(AbortExecution):
        feed_partition.next_batch()
    rest = next_slices(partition(FeedSource(lambda: simulator(50), batch_slices=50), state))
    assert rest == list(simulator(50))[5:]


def test_speed_gives_one_slice_per_interval_of_the_wall_clock() -> None:
    clock = ManualClock(77 * SECOND_NS)
    feed_partition = partition(FeedSource(lambda: simulator(50), speed=4.0, now_ns=clock))
    counts = []
    for quarter in range(8):
        clock.now_ns = 77 * SECOND_NS + quarter * SECOND_NS // 4
        counts.append(len(next_slices(feed_partition)))
        assert next_slices(feed_partition) == []
        assert feed_partition.next_awake() is not None
    assert counts == [1] * 8
    clock.now_ns += SECOND_NS
    assert len(next_slices(feed_partition)) == 4


def test_a_suspended_feed_goes_on_at_its_speed() -> None:
    clock = ManualClock(77 * SECOND_NS)
    feed_partition = partition(FeedSource(lambda: simulator(50), speed=4.0, now_ns=clock))
    assert len(next_slices(feed_partition)) == 1
    clock.now_ns += 10 * SECOND_NS  # the process was suspended, or the machine slept
    counts = []
    for _ in range(4):
        counts.append(len(next_slices(feed_partition)))
        clock.now_ns += SECOND_NS // 4
    assert counts == [1] * 4, "not 40 at once"


def test_at_its_end_a_feed_stops_or_idles() -> None:
    feed_partition = partition(FeedSource(lambda: simulator(3), at_end="idle"))
    assert len(next_slices(feed_partition)) == 3
    assert feed_partition.finished
    assert next_slices(feed_partition) == next_slices(feed_partition) == []
    assert feed_partition.next_awake() is not None
    stopping_partition = partition(FeedSource(lambda: simulator(3)))
    stopping_partition.next_batch()
    with pytest.raises(StopIteration):
        stopping_partition.next_batch()


def test_live_simulator_is_polled_again_when_data_is_due() -> None:
    clock = ManualClock(START_NS)
    feed_partition = partition(FeedSource(lambda: Simulator(["A"], 1, now_ns=clock), now_ns=clock))
    assert next_slices(feed_partition) == []
    assert feed_partition.next_awake() is not None
    clock.now_ns += SECOND_NS
    assert feed_partition.next_awake() is None
    assert len(next_slices(feed_partition)) == 1


@pytest.mark.parametrize("options", [{"speed": 0.0}, {"speed": float("nan")}, {"at_end": "loop"}, {"batch_slices": 0}])
def test_invalid_options_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        FeedSource(lambda: simulator(3), **options)


def test_resume_with_another_feed_type_is_rejected(tmp_path: Path) -> None:
    simulator_state = partition(FeedSource(lambda: simulator(3))).snapshot()
    file = tmp_path / "A.csv"
    file.write_text("time,open,high,low,close,volume\n2024-01-02T15:00:00Z,1,1,1,1,1\n")
    with pytest.raises(BadInput, match="hold data of Simulator and cannot continue with FileFeed"):
        partition(FeedSource(lambda: FileFeed([file])), simulator_state)
