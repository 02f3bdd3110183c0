"""The Bytewax source of a feed: pace, end, stop and resume, in a real dataflow where that matters."""

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

from dataflows.runtime.topology import FEED
from dataflows.sources.feed import FeedPartition, FeedSource, FeedTicks
from dataflows.sources.files import FileFeed
from dataflows.sources.simulator import Simulator
from operators.stage import Tick
from schemas.errors import BadInput

SECOND = 10**9
START = 1_700_000_000 * SECOND


class VirtualClock:
    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def simulator(ticks: int) -> Simulator:
    return Simulator(["A", "B"], 1, start_ns=START, fast=True, end_after_ticks=ticks)


def partition(source: FeedSource, state: Any = None) -> FeedPartition:
    return source.build_part("in", FEED, state)


def run(source: FeedSource, recovery: Path, then: Callable[[list[Tick]], None] = lambda _: None) -> list[Tick]:
    """The ticks that came out. A TestingSink repeats what was given out behind the last snapshot."""
    out: list[FeedTicks] = []
    flow = Dataflow("feed_test")
    stream = op.input("in", flow, source)
    op.inspect("see", stream, lambda _step, item: then(item[1]))
    op.output("out", stream, TestingSink(out))
    run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(recovery)))
    return [tick for _, ticks in out for tick in ticks]


def given(part: FeedPartition) -> list[Tick]:
    """The ticks of the next batch."""
    return [tick for _, ticks in part.next_batch() for tick in ticks]


@pytest.mark.parametrize("batch_ticks", [1, 7, 1000])
def test_a_dataflow_gets_every_tick_in_lists_and_ends(tmp_path: Path, batch_ticks: int) -> None:
    init_db_dir(tmp_path, 1)
    source = FeedSource(lambda: simulator(50), batch_ticks=batch_ticks)
    assert run(source, tmp_path) == list(simulator(50))
    assert source.finished


def test_a_stop_leaves_nothing_to_replay_and_the_next_start_goes_on(tmp_path: Path) -> None:
    init_db_dir(tmp_path, 1)
    seen: list[Tick] = []
    first = FeedSource(lambda: simulator(50), batch_ticks=3, stopping=lambda: len(seen) >= 20)
    before = run(first, tmp_path, seen.extend)
    assert 20 <= len(before) < 50
    after = run(FeedSource(lambda: simulator(50), batch_ticks=3), tmp_path)
    assert before + after == list(simulator(50))


def test_nothing_is_given_between_the_stop_and_its_snapshot() -> None:
    asked = [False]
    part = partition(FeedSource(lambda: simulator(50), batch_ticks=5, stopping=lambda: asked[0]))
    part.next_batch()
    part.snapshot()  # one from before the stop does not count
    asked[0] = True
    assert given(part) == given(part) == []
    state = part.snapshot()
    with pytest.raises(AbortExecution):
        part.next_batch()
    rest = given(partition(FeedSource(lambda: simulator(50), batch_ticks=50), state))
    assert rest == list(simulator(50))[5:]


def test_speed_gives_one_tick_each_interval_of_the_wall_clock() -> None:
    clock = VirtualClock(77 * SECOND)
    part = partition(FeedSource(lambda: simulator(50), speed=4.0, now_ns=clock))
    counts = []
    for quarter in range(8):
        clock.now_ns = 77 * SECOND + quarter * SECOND // 4
        counts.append(len(given(part)))
        assert given(part) == []
        assert part.next_awake() is not None
    assert counts == [1] * 8
    clock.now_ns += SECOND
    assert len(given(part)) == 4


def test_at_its_end_a_feed_stops_or_idles() -> None:
    part = partition(FeedSource(lambda: simulator(3), at_end="idle"))
    assert len(given(part)) == 3
    assert part.finished
    assert given(part) == given(part) == []
    assert part.next_awake() is not None
    stops = partition(FeedSource(lambda: simulator(3)))
    stops.next_batch()
    with pytest.raises(StopIteration):
        stops.next_batch()


def test_a_live_simulator_is_asked_again_when_it_has_something() -> None:
    clock = VirtualClock(START)
    part = partition(FeedSource(lambda: Simulator(["A"], 1, now_ns=clock), now_ns=clock))
    assert given(part) == []
    assert part.next_awake() is not None
    clock.now_ns += SECOND
    assert part.next_awake() is None
    assert len(given(part)) == 1


@pytest.mark.parametrize("options", [{"speed": 0.0}, {"speed": float("nan")}, {"at_end": "loop"}, {"batch_ticks": 0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        FeedSource(lambda: simulator(3), **options)


def test_another_feed_does_not_go_on_where_one_left_off(tmp_path: Path) -> None:
    simulated = partition(FeedSource(lambda: simulator(3))).snapshot()
    file = tmp_path / "A.csv"
    file.write_text("time,open,high,low,close,volume\n2024-01-02T15:00:00Z,1,1,1,1,1\n")
    with pytest.raises(BadInput, match="fed by Simulator and cannot go on with FileFeed"):
        partition(FeedSource(lambda: FileFeed([file])), simulated)
