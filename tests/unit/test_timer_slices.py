"""A live feed closes a time slice when a timer is due."""

from __future__ import annotations

import threading

from dataflows.sources.market.slice_times import RESERVED_NS
from dataflows.sources.market.waiting_records import COALESCE_NS, WaitingRecords
from tests.unit.on_demand_run import MILLI_NS, OPEN_NS, UPDATE_NS, OnDemandRun
from tests.unit.test_live_feed import MINUTE_NS, SECOND_NS, START_NS


def test_a_timer_closes_a_slice_at_its_time_only() -> None:
    run = OnDemandRun(start_ns=OPEN_NS - 75 * SECOND_NS, calendar="XNYS", session="regular")
    run.take()
    at_ns = OPEN_NS - 60 * SECOND_NS + 123
    run.waiting.add_timer("execution", OPEN_NS - 70 * SECOND_NS)
    run.waiting.add_timer("execution", at_ns)  # the last report counts
    [timer_ns, heartbeat_ns] = run.times_until(OPEN_NS - 29 * SECOND_NS)
    assert at_ns <= timer_ns <= at_ns + COALESCE_NS + 1000
    assert heartbeat_ns == timer_ns + 30 * SECOND_NS


def test_a_timer_at_the_end_of_a_minute_waits_for_its_bars() -> None:
    run = OnDemandRun()
    run.take()
    end_ns = START_NS + MINUTE_NS
    run.waiting.add_timer("strategies", end_ns)
    run.waiting.add_timer("sentiment", end_ns - RESERVED_NS // 2)
    assert max(run.times_until(end_ns + SECOND_NS)) < end_ns - RESERVED_NS, "no slice for the timers before the bars"
    run.provider.bar(START_NS, "A", 10.0)
    run.advance(10 * MILLI_NS)
    assert run.take()[0] == end_ns
    assert run.times_until(end_ns + 1900 * MILLI_NS) == [], "the heartbeats continue without a timer"


def test_a_timer_of_the_past_closes_one_slice() -> None:
    run = OnDemandRun()
    run.take()
    run.advance(100 * MILLI_NS)
    run.waiting.add_timer("portfolio", START_NS - 1)
    times = run.times_until(START_NS + 900 * MILLI_NS)
    assert times == [START_NS + 100 * MILLI_NS + COALESCE_NS]


def test_timers_do_not_exceed_the_rate_and_wait_while_the_services_are_behind() -> None:
    run = OnDemandRun()
    run.take()
    count = 0
    for _ in range(10_000):
        run.advance(MILLI_NS // 10)
        run.waiting.add_timer("execution", run.wall.now_ns)
        count += len(run.take())
    assert 300 <= count <= 500
    behind = OnDemandRun()
    behind.waiting._passed_risk_ns = -1  # risk has passed none of the next two slices
    behind.take()
    behind.waiting.add_record("commands")
    behind.advance(UPDATE_NS)
    assert len(behind.take()) == 1
    behind.waiting.add_timer("execution", behind.wall.now_ns + MILLI_NS)
    [ts_ns] = behind.times_until(behind.wall.now_ns + 2 * UPDATE_NS)
    assert ts_ns == START_NS + 2 * UPDATE_NS


def test_a_new_timer_ends_the_wait() -> None:
    waiting = WaitingRecords(UPDATE_NS)
    waiting.close(1)
    reporter = threading.Timer(0.05, waiting.add_timer, ("execution", 5000))
    reporter.start()
    waiting.wait(60.0)
    assert waiting.next_timer_ns(0) == 5000
    reporter.join()
