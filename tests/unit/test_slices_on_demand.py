"""A live feed closes a time slice when there is a reason, and otherwise at a heartbeat."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from configs.settings import LiveFeedSection
from dataflows.sources.market.clock_recovery import FeedTopicState, clocked_logs
from dataflows.sources.market.provider import QuoteUpdate
from dataflows.sources.market.slice_times import RESERVED_NS
from dataflows.sources.market.waiting_records import COALESCE_NS, WaitingRecords
from schemas.errors import BadInput
from schemas.records import Bar, Clock
from tests.unit.on_demand_run import MILLI_NS, OPEN_NS, UPDATE_NS, OnDemandRun
from tests.unit.test_live_feed import MINUTE_NS, SECOND_NS, START_NS


def test_without_a_reason_the_clock_advances_once_a_second_in_a_session() -> None:
    run = OnDemandRun()
    assert run.times_until(START_NS + 3 * SECOND_NS) == [START_NS + n * SECOND_NS for n in range(4)]


def test_outside_sessions_the_clock_advances_every_half_minute_and_at_the_open() -> None:
    start_ns = OPEN_NS - 75 * SECOND_NS
    run = OnDemandRun(start_ns=start_ns, calendar="XNYS", session="regular")
    offsets_s = [(ts_ns - OPEN_NS) / SECOND_NS for ts_ns in run.times_until(OPEN_NS + 2 * SECOND_NS)]
    assert offsets_s == [-75, -45, -15, 0, 1, 2]


def test_a_waiting_record_closes_a_slice_two_milliseconds_after_the_first() -> None:
    run = OnDemandRun()
    run.take()
    run.advance(100 * MILLI_NS)
    run.waiting.add_record("commands")
    assert run.take() == []
    run.advance(MILLI_NS)
    run.waiting.add_record("broker-updates")
    run.advance(COALESCE_NS - MILLI_NS)
    assert run.take() == [run.wall.now_ns], "one slice for both"
    run.advance(COALESCE_NS)
    assert run.take() == []


def test_at_most_500_slices_per_second() -> None:
    run = OnDemandRun()
    run.take()
    count = 0
    for _ in range(10_000):
        run.advance(MILLI_NS // 10)
        run.waiting.add_record("commands")
        count += len(run.take())
    assert 450 <= count <= 500


def test_a_clock_behind_the_record_in_the_log_ends_the_wait() -> None:
    run = OnDemandRun()
    run.take()
    run.waiting.add_record("commands")  # read after the slice was closed, written before its clock
    run.waiting.add_clock("commands")
    run.waiting.add_clock("news")
    run.advance(COALESCE_NS)
    assert run.take() == []


def test_an_approved_order_closes_the_next_slice_only_if_there_is_none_yet() -> None:
    run = OnDemandRun()
    [first_ns] = run.take()
    run.waiting.add_decision("orders", first_ns)
    run.advance(COALESCE_NS)
    [second_ns] = run.take()
    assert second_ns > first_ns
    run.waiting.add_decision("orders", first_ns)
    run.advance(COALESCE_NS)
    assert run.take() == [], "the slice after the order exists"


def test_commands_are_not_delayed_by_a_minute_that_waits_for_its_bars() -> None:
    run = OnDemandRun()
    run.take()
    run.advance(MINUTE_NS - 2 * SECOND_NS)
    run.take()
    run.advance(3 * SECOND_NS)
    end_ns = START_NS + MINUTE_NS
    assert run.take() == [end_ns - RESERVED_NS]
    for _ in range(3):
        run.waiting.add_record("commands")
        run.advance(COALESCE_NS)
        [ts_ns] = run.take()
        assert end_ns - RESERVED_NS < ts_ns < end_ns
    assert run.times_until(end_ns + SECOND_NS + 300 * MILLI_NS) == [], "no heartbeat while time stands still"
    run.provider.bar(START_NS, "A", 10.0)
    run.advance(SECOND_NS)
    slices = run.feed.take(100)
    assert [one.ts_ns for one in slices] == [end_ns, run.wall.now_ns]
    assert [type(record) for record in slices[0].records] == [Bar]


def test_the_clock_never_reaches_the_end_of_a_minute_that_waits_for_bars() -> None:
    run = OnDemandRun()
    run.take()
    run.advance(MINUTE_NS)
    for _ in range(2 * RESERVED_NS // 1000):
        run.waiting.add_record("commands")
        run.monotonic.now_ns += COALESCE_NS
        assert all(ts_ns < START_NS + MINUTE_NS for ts_ns in run.take())
    due_ns = run.feed.due_ns()
    assert due_ns is not None and due_ns > run.wall.now_ns, "it would wait in a busy loop"


def test_a_wall_clock_set_back_delays_no_command_and_never_sets_the_event_time_back() -> None:
    run = OnDemandRun()
    run.advance(10 * SECOND_NS)
    [first_ns] = run.take()
    run.wall.now_ns -= 3600 * SECOND_NS
    assert run.take() == []
    run.waiting.add_record("commands")
    run.monotonic.now_ns += COALESCE_NS
    assert run.take() == [first_ns + 1000]
    run.monotonic.now_ns += SECOND_NS
    assert run.take() == [], "heartbeats wait until the wall clock has passed the event time"


def test_a_wall_clock_set_forward_closes_each_minute_in_order() -> None:
    run = OnDemandRun()
    run.take()
    run.advance(3 * MINUTE_NS + 6 * SECOND_NS)
    assert run.take() == [*(START_NS + n * MINUTE_NS for n in (1, 2, 3)), run.wall.now_ns]


def test_while_the_services_are_behind_waiting_records_share_slices() -> None:
    run = OnDemandRun()
    run.waiting = WaitingRecords(UPDATE_NS, now_ns=run.monotonic)
    run.waiting.close(1)
    run.waiting.close(2)
    run.waiting.add_record("commands")
    assert run.waiting.due_in_ns() == UPDATE_NS, "risk has passed neither slice"
    run.waiting.add_risk_clock(1)
    assert run.waiting.due_in_ns() == COALESCE_NS


def test_records_that_arrived_before_the_start_close_the_first_slice() -> None:
    run = OnDemandRun()
    run.take()
    state = run.feed.state()
    later = OnDemandRun()
    later.feed.resume(state)
    later.advance(COALESCE_NS)
    assert later.take() == [START_NS + COALESCE_NS], "not only at the next heartbeat"


def test_a_slice_on_demand_that_some_topics_lack_is_written_again_before_any_other() -> None:
    """The feed was killed while a minute waited for its bars, after a slice for a command."""
    run = OnDemandRun()
    run.take()
    state = run.feed.state()
    missing_ns = START_NS + MINUTE_NS - RESERVED_NS + 1000
    logs = clocked_logs(1)
    topics = FeedTopicState(tuple(logs))
    for log in logs:
        topics.add(log, Clock(START_NS, "market_data@test"))
    topics.add(("commands", 0), Clock(missing_ns, "market_data@test"))
    later = OnDemandRun(start_ns=START_NS + MINUTE_NS + SECOND_NS, topics=topics)
    later.feed.resume(state)
    assert later.take() == [missing_ns, missing_ns + 1000], "then the slice for what arrived while the feed was down"
    later.provider.bar(START_NS, "A", 10.0)
    later.advance(300 * MILLI_NS)
    assert later.take() == [START_NS + MINUTE_NS, later.wall.now_ns]


def test_a_missing_clock_that_waits_for_its_bars_causes_no_busy_loop() -> None:
    run = OnDemandRun()
    run.take()
    state = run.feed.state()
    topics = FeedTopicState(tuple(clocked_logs(1)))
    for log in topics.logs:
        topics.add(log, Clock(START_NS, "market_data@test"))
    topics.add(("commands", 0), Clock(START_NS + MINUTE_NS, "market_data@test"))
    later = OnDemandRun(start_ns=START_NS + MINUTE_NS + SECOND_NS, topics=topics)
    later.waiting.start()
    later.feed.resume(state)
    assert later.take() == []
    waiting_ns = later.waiting.due_in_ns()
    assert waiting_ns is not None and waiting_ns > 0, "`wait` would return at once"


@pytest.mark.parametrize("seed", range(5))
def test_slices_are_strictly_ordered_and_no_bar_is_late(seed: int) -> None:
    """Random records, quotes, late bars and jumps of the wall clock."""
    rng = random.Random(seed)
    run = OnDemandRun()
    minutes = [START_NS + n * MINUTE_NS for n in range(20)]
    clock_ns = -1
    for _ in range(3000):
        step_ns = rng.choice([MILLI_NS, 40 * MILLI_NS, 500 * MILLI_NS])
        run.monotonic.now_ns += step_ns
        run.wall.now_ns += step_ns if rng.random() < 0.995 else rng.choice([-30, 90]) * SECOND_NS
        if rng.random() < 0.3:
            run.waiting.add_record(rng.choice(["commands", "news"]))
        if rng.random() < 0.2:
            run.provider.quotes = [QuoteUpdate(symbol="A", bid=1.0, ask=2.0, bid_size=1.0, ask_size=1.0)]
        if rng.random() < 0.05:
            run.provider.bar(rng.choice(minutes), "A", 10.0)
        for time_slice in run.feed.take(100):
            assert time_slice.ts_ns > clock_ns
            assert all(clock_ns < record.ts_ns <= time_slice.ts_ns for record in time_slice.records)
            clock_ns = time_slice.ts_ns


@pytest.mark.parametrize("seed", range(3))
def test_neither_bars_nor_commands_starve_and_the_rate_is_bounded(seed: int) -> None:
    """Commands, timers, rejections and late bars at random, and a risk service that sometimes stands still."""
    rng = random.Random(seed)
    run = OnDemandRun()
    run.waiting._passed_risk_ns = -1
    run.take()
    risk_free_ns, unprocessed = 0, list[int]()  # when risk continues, and the slices that it has not processed
    waiting_since_ns: int | None = None
    bar_at = {number: (number + 1) * MINUTE_NS + rng.randint(1, 4000) * MILLI_NS for number in range(2)}
    closed_minutes: dict[int, int] = {}
    times: list[int] = []
    run.advance(MINUTE_NS - 3 * SECOND_NS)
    end_ns = run.monotonic.now_ns + 10 * SECOND_NS
    while run.monotonic.now_ns < end_ns:
        run.advance(MILLI_NS)
        now_ns = run.monotonic.now_ns
        if rng.random() < 0.4:
            run.waiting.add_record("commands")
            waiting_since_ns = now_ns if waiting_since_ns is None else waiting_since_ns
        if rng.random() < 0.05:
            run.waiting.add_timer("execution", run.wall.now_ns + rng.randint(0, 20) * MILLI_NS)
        if rng.random() < 0.05:
            run.waiting.add_decision("order-refusals", run.feed.state()["clock_ns"])
        for number, at_ns in bar_at.items():
            if run.wall.now_ns >= START_NS + at_ns:
                run.provider.bar(START_NS + number * MINUTE_NS, "A", 10.0)
        if rng.random() < 0.0003:
            risk_free_ns = now_ns + rng.randint(100, 2000) * MILLI_NS
        if unprocessed and now_ns >= risk_free_ns:
            run.waiting.add_risk_clock(unprocessed[-1])
            unprocessed.clear()
        for time_slice in run.feed.take(100):
            times.append(now_ns)
            unprocessed.append(time_slice.ts_ns)
            waiting_since_ns = None
            if any(isinstance(record, Bar) for record in time_slice.records):
                closed_minutes[time_slice.ts_ns - START_NS] = run.wall.now_ns - START_NS
        assert waiting_since_ns is None or now_ns - waiting_since_ns <= UPDATE_NS + 2 * MILLI_NS, "a command starves"
        # Without risk, a slice follows each 250 ms, and at most one each for a heartbeat and the bars.
        assert len(unprocessed) <= 2 + 6 * (now_ns - (times[-len(unprocessed)] if unprocessed else now_ns)) / SECOND_NS
    for end_of_minute_ns, closed_ns in closed_minutes.items():
        arrived_ns = bar_at[end_of_minute_ns // MINUTE_NS - 1]
        assert closed_ns - arrived_ns <= 2 * MILLI_NS, "bars starve"
    assert MINUTE_NS in closed_minutes
    for number in range(500, len(times)):
        assert times[number] - times[number - 500] >= SECOND_NS - 2 * MILLI_NS


def test_a_rejected_order_closes_the_next_slice_and_repeats_are_spaced() -> None:
    """A strategy that repeats its order after each rejection must not close 500 time slices per second."""
    run = OnDemandRun()
    [first_ns] = run.take()
    run.waiting.add_decision("order-refusals", first_ns)
    run.advance(COALESCE_NS)
    [second_ns] = run.take()
    assert second_ns == first_ns + COALESCE_NS
    run.waiting.add_decision("order-refusals", second_ns)
    run.advance(COALESCE_NS)
    assert run.take() == []
    run.waiting.add_record("commands")
    run.advance(COALESCE_NS)
    [third_ns] = run.take()
    assert third_ns == second_ns + 2 * COALESCE_NS, "the command does not wait"
    run.waiting.add_decision("order-refusals", third_ns)
    run.advance(COALESCE_NS)
    assert len(run.take()) == 1, "the slice before was not only for a rejection"
    run.waiting.add_decision("order-refusals", run.wall.now_ns)
    assert run.times_until(run.wall.now_ns + SECOND_NS)[0] == third_ns + COALESCE_NS + UPDATE_NS


def test_wait_returns_when_a_slice_is_due() -> None:
    waiting = WaitingRecords(UPDATE_NS)
    waiting.close(1)
    waiting.add_record("commands")
    waiting.wait(60.0)
    assert waiting.due_in_ns() == 0


@pytest.mark.parametrize("values", [(0.0, 30.0), (11.0, 30.0), (2.0, 1.0), (1.0, 61.0)])
def test_heartbeats_out_of_range_are_refused(values: Sequence[float]) -> None:
    with pytest.raises(BadInput, match="clock_session_s"):
        LiveFeedSection(clock_session_s=values[0], clock_closed_s=values[1])
