"""The kill switch halts trading, its release resumes trading, and a replay of the recorded inputs decides the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from operators.kill_switch import AT_ONCE
from operators.stage import TimeSlice
from schemas.codec import decode, encode
from schemas.records import KILL_SWITCH, RELEASE, Clock, Command, Order, OrderRefusal, RiskFence
from tests.builders import command
from tests.e2e.conftest import SLOW, MakePlatform, RunResult
from tests.e2e.process_platform import ProcessPlatform
from tests.replay.runs import fused_hash, read_time_slices

pytestmark = pytest.mark.timeout(1200)

MINUTE_NS = 60_000_000_000


def test_the_kill_switch_halts_until_released_across_restarts(
    make_platform: MakePlatform, uninterrupted: RunResult, bars: list[Path]
) -> None:
    time_slices = read_time_slices(bars)
    with make_platform(speed=SLOW, overrides={}) as platform:
        platform.start_feed_last()
        halted_ns = platform.last_tick_ns("market_data")
        send_command(platform, KILL_SWITCH)
        # Stop the feed here. Otherwise, with slow services, the tape could end before the release.
        platform.wait_until_past("market_data", halted_ns + 40 * MINUTE_NS)
        platform.kill("market_data")
        # Restart risk and portfolio during the halt: the halt remains active.
        platform.wait_until_past("risk", halted_ns + 20 * MINUTE_NS)
        platform.restart("risk")
        platform.restart("portfolio")
        send_command(platform, RELEASE)
        platform.speed = "max"
        platform.start("market_data")
        platform.run_to_end()
        logs = platform.logs()
        halted, released = (fence for fence in logs.records("orders") if type(fence) is RiskFence)
        assert (halted.state, released.state) == ("HALTED", "ACTIVE")
        halt_window = range(halted.ts_ns, released.ts_ns)
        orders = [order for order in logs.records("orders") if type(order) is Order]
        assert not [order for order in orders if order.ts_ns in halt_window and order.seq > halted.seq]
        assert [order for order in orders if order.ts_ns > released.ts_ns], "orders go on"
        refusals = [refusal for refusal in logs.records("order-refusals") if type(refusal) is OrderRefusal]
        assert "kill_switch" in {refusal.check for refusal in refusals if refusal.ts_ns in halt_window}
        assert {r.check for r in refusals if r.ts_ns in halt_window} == {"kill_switch"}
        assert len(platform.tables()["commands"]) == 2
        assert platform.decision_hash() == fused_hash(with_recorded_commands(platform, time_slices))
        assert platform.decision_hash() != uninterrupted.decision_hash


def send_command(platform: ProcessPlatform, kind: str) -> None:
    """Write a command to the topic as the API does."""
    arguments = AT_ONCE if kind == KILL_SWITCH else {}
    platform.produce("commands", 0, encode(command(f"test-{kind}", time.time_ns(), kind, arguments)))


def with_recorded_commands(platform: ProcessPlatform, time_slices: list[TimeSlice]) -> list[TimeSlice]:
    """Add each command to the time slice of the first clock after it in the topic."""
    pending: list[Command] = []
    commands_by_ts: dict[int, list[Command]] = {}
    clock_ns = -1
    for message in platform.messages("commands"):
        record = decode(message)
        if type(record) is Command:
            pending.append(record)
        elif type(record) is Clock and record.ts_ns > clock_ns:
            clock_ns = record.ts_ns
            commands_by_ts[clock_ns], pending = pending, []
    return [
        TimeSlice(time_slice.ts_ns, [*time_slice.records, *commands_by_ts[time_slice.ts_ns]])
        for time_slice in time_slices
    ]
