"""The kill switch halts, its release goes on, and a replay of what was recorded decides the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from operators.stage import Tick
from schemas.codec import decode, encode
from schemas.records import KILL_SWITCH, RELEASE, Clock, Command, Order, OrderRefusal, RiskFence
from tests.e2e.conftest import MakePlatform, Outcome
from tests.e2e.platform import Platform
from tests.replay.runs import feed_ticks, fused_hash

pytestmark = pytest.mark.timeout(1200)

MINUTE_NS = 60_000_000_000


def test_the_kill_switch_halts_until_it_is_released_also_across_restarts(
    make_platform: MakePlatform, uninterrupted: Outcome, bars: list[Path]
) -> None:
    ticks = feed_ticks(bars)
    with make_platform(speed="1200") as platform:
        platform.begin()
        halted_ns = platform.last_tick_ns("market_data")
        command(platform, KILL_SWITCH)
        # While it is halted risk and portfolio die: the halt outlives them.
        platform.wait_past("risk", halted_ns + 20 * MINUTE_NS)
        platform.restart("risk")
        platform.restart("portfolio")
        platform.wait_past("market_data", halted_ns + 80 * MINUTE_NS)
        command(platform, RELEASE)
        platform.restart("market_data")
        platform.run_to_end()
        logs = platform.logs()
        halted, released = (fence for fence in logs.records("orders") if type(fence) is RiskFence)
        assert (halted.state, released.state) == ("HALTED", "ACTIVE")
        during = range(halted.ts_ns, released.ts_ns)
        orders = [order for order in logs.records("orders") if type(order) is Order]
        assert not [order for order in orders if order.ts_ns in during and order.seq > halted.seq]
        assert [order for order in orders if order.ts_ns > released.ts_ns], "orders go on"
        refused = [refusal for refusal in logs.records("order-refusals") if type(refusal) is OrderRefusal]
        assert "kill_switch" in {refusal.check for refusal in refused if refusal.ts_ns in during}
        assert {r.check for r in refused if r.ts_ns in during} == {"kill_switch"}
        assert len(platform.tables()["commands"]) == 2
        assert platform.decision_hash() == fused_hash(with_recorded_commands(platform, ticks))
        assert platform.decision_hash() != uninterrupted.decision_hash


def command(platform: Platform, kind: str) -> None:
    """As the API writes it."""
    platform.produce("commands", 0, encode(Command(f"test-{kind}", time.time_ns(), kind, "tester", "a test", {})))


def with_recorded_commands(platform: Platform, ticks: list[Tick]) -> list[Tick]:
    """The feed's ticks with each command in the tick of the first clock behind it in the topic."""
    waiting: list[Command] = []
    at: dict[int, list[Command]] = {}
    passed = -1
    for message in platform.messages("commands"):
        record = decode(message)
        if type(record) is Command:
            waiting.append(record)
        elif type(record) is Clock and record.ts_ns > passed:
            passed = record.ts_ns
            at[passed], waiting = waiting, []
    return [Tick(tick.ts_ns, [*tick.records, *at[tick.ts_ns]]) for tick in ticks]
