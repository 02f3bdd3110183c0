"""The services as processes decide the same as the fused backtest, with crashes, stops and any number of workers."""

from __future__ import annotations

import random
import time
from datetime import time as time_of_day
from pathlib import Path

import pytest

from deploy.supervisor.process_spec import DATAFLOW_NAMES
from tests.e2e.conftest import MakePlatform, RunResult, assert_same, read_result
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import fused_hash, read_time_slices

pytestmark = pytest.mark.timeout(1200)

FEED_SPEED = "1000"
"""Times real time: 17 minutes of bars a second, so that a run lasts long enough to be disturbed."""


def test_services_on_kafka_decide_what_the_fused_backtest_decides(
    uninterrupted: RunResult, fused_decision_hash: str
) -> None:
    assert uninterrupted.decision_hash == fused_decision_hash
    rows = {name: len(rows) for name, rows in uninterrupted.tables.items()}
    written = ("orders", "order_refusals", "executions", "lot_matches", "valuations", "strategy_actions")
    assert min(rows[name] for name in written) > 10


def test_an_uninterrupted_run_writes_each_message_once(uninterrupted: RunResult) -> None:
    clocks = len({row[1] for row in uninterrupted.tables["bars"]})
    for topic, records in uninterrupted.topics.items():
        partitions = sum(1 for name, _ in uninterrupted.counts if name == topic)
        assert sum(n for (name, _), n in uninterrupted.counts.items() if name == topic) == len(records) + (
            clocks * partitions
        )


@pytest.mark.parametrize(("kills", "pace"), [(1, FEED_SPEED), pytest.param(5, "270", marks=pytest.mark.long)])
def test_kill_9_of_each_dataflow_at_random_times_changes_no_table(
    kills: int, pace: str, make_platform: MakePlatform, uninterrupted: RunResult
) -> None:
    rng = random.Random()
    victims = list(DATAFLOW_NAMES) * kills
    rng.shuffle(victims)
    print("killed in this order:", *victims)
    with make_platform(speed=pace) as platform:
        platform.start_feed_last()
        for victim in victims:
            time.sleep(rng.uniform(0.1, 0.8))
            platform.restart(victim)
        # Then kill all services, as a machine failure does.
        for victim in DATAFLOW_NAMES:
            platform.kill(victim)
        platform.start()
        platform.wait_drained()
        # Restart at the end of the tape as well: a restarted service has no work left and reports this.
        platform.restart("market_data")
        platform.restart("execution")
        platform.run_to_end()
        assert_same(read_result(platform), uninterrupted)


def test_sigterm_ends_each_service_with_0_and_leaves_nothing_to_replay(
    make_platform: MakePlatform, uninterrupted: RunResult
) -> None:
    with make_platform(speed=FEED_SPEED) as platform:
        platform.start_feed_last()
        for name in DATAFLOW_NAMES:
            assert platform.terminate(name) == 0, platform.log_tail(name)
            platform.start(name)
        platform.run_to_end()
        result = read_result(platform)
        assert result.counts == uninterrupted.counts, "a message was written twice"
        assert_same(result, uninterrupted)


@pytest.mark.parametrize("minutes", [60, pytest.param(270, marks=pytest.mark.long)])
def test_worker_and_process_counts_do_not_change_decisions(
    minutes: int, make_platform: MakePlatform, tmp_path: Path
) -> None:
    # Two processes of one dataflow wait for each other at every time slice, about half a second: hence the short tape.
    bars = write_market(
        tmp_path, symbols=("A", "B", "C", "D", "E"), days=[MONDAY], open_time=time_of_day(9, 20), minutes=minutes
    )
    with make_platform(bars, speed=FEED_SPEED, workers={"features": 2, "signals": 3}) as platform:
        platform.start_feed_last()
        # The shards move to other workers together with their state.
        platform.workers["features"] = 3
        platform.restart("features")
        platform.processes["signals"] = 2
        del platform.workers["signals"]
        platform.restart("signals")
        platform.run_to_end()
        assert len(platform.tables()["orders"]) > 10
        assert platform.decision_hash() == fused_hash(read_time_slices(bars), settings=platform.read_settings())
