"""A live feed closes a time slice for a waiting command and for an approved order, and a replay of it is equal."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest

from dataflows.replay.comparison import compare
from dataflows.replay.recording import open_recording
from deploy.performance.order_trace import read_trace
from schemas.codec import decode, encode
from schemas.records import LIMIT, NEW, Bar, Clock, Command, Execution, Order
from tests.builders import command
from tests.e2e.conftest import MakePlatform
from tests.e2e.process_platform import ProcessPlatform

HEARTBEAT_S = 6
HEARTBEAT_NS = HEARTBEAT_S * 10**9


@pytest.fixture
def platform(make_platform: MakePlatform) -> Iterator[ProcessPlatform]:
    overrides = {
        "MARKET_DATA__FEED": "live",
        "MARKET_DATA__PROVIDERS": '["simulator"]',
        "MARKET_DATA__LIVE__SYMBOLS": '["AAPL"]',
        "MARKET_DATA__LIVE__CALENDAR": "24/7",
        "MARKET_DATA__LIVE__BAR_INTERVAL_S": "12",
        "MARKET_DATA__LIVE__CLOCK_SESSION_S": str(HEARTBEAT_S),
        "SIGNALS__STRATEGIES": "[]",
    }
    with make_platform(overrides=overrides) as running:
        yield running


def decoded(platform: ProcessPlatform, topic: str) -> list[object]:
    return [decode(value) for value in platform.messages(topic)]


def test_a_command_and_an_approved_order_close_slices_before_the_heartbeat(platform: ProcessPlatform) -> None:
    platform.start_feed_last()
    platform.wait_until(
        lambda: any(
            isinstance(decode(value), Bar)
            for partition in range(platform.partitions)
            for value in platform.messages("market-bars", partition)
        ),
        "a price to judge orders by",
    )
    published: list[str] = []

    def has_new_order_before_a_heartbeat() -> bool:
        """Whether an order reached the venue in the slice after its own, less than a heartbeat after its command."""
        # Read the latest records first: what they refer to was written before them.
        reports = {one.order_id: one for one in decoded(platform, "executions") if isinstance(one, Execution)}
        orders = decoded(platform, "orders")
        clocks = sorted({one.ts_ns for one in decoded(platform, "commands") if isinstance(one, Clock)})
        for order in orders:
            if not isinstance(order, Order) or order.order_id not in reports:
                continue
            approved, reported = clocks.index(order.ts_ns), clocks.index(reports[order.order_id].ts_ns)
            assert reported == approved + 1
            if approved and clocks[reported] - clocks[approved - 1] < HEARTBEAT_NS:
                return True
        # A bar may end a slice at the same moment, and a busy machine may be slow: try again.
        if len(published) <= sum(isinstance(one, Order) for one in orders):
            published.append(f"cmd-{uuid.uuid4().hex[:8]}")
            terms = {"symbol": "AAPL", "side": "BUY", "quantity": "1", "order_type": LIMIT, "limit_price": "1"}
            platform.produce("commands", 0, encode(command(published[-1], time.time_ns(), "SUBMIT_ORDER", terms)))
        return False

    platform.wait_until(has_new_order_before_a_heartbeat, "an order at the venue before the next heartbeat")
    # A second command may wait for its report: it is in the slice after that of its order.
    platform.wait_until(
        lambda: sum(isinstance(one, Execution) for one in decoded(platform, "executions")) == len(published),
        "a report for each command",
    )
    platform.stop()
    first_reports = [one for one in decoded(platform, "executions") if isinstance(one, Execution)]
    assert {one.exec_type for one in first_reports} == {NEW}
    commands = [one for one in decoded(platform, "commands") if isinstance(one, Command)]
    assert [one.command_id for one in commands] == published
    replayed = compare(platform.read_settings(), open_recording(platform.read_settings().kafka, platform.prefix + "r"))
    assert replayed.difference is None, replayed.difference
    assert replayed.records["Order"] == len(first_reports)
    order = next(one for one in decoded(platform, "orders") if isinstance(one, Order))
    steps = [step.step for step in read_trace(platform.read_settings().kafka, order)]
    assert (steps[:3], steps[-2:]) == (
        ["command sent", "command in Kafka", "time slice closed by market_data"],
        ["next time slice closed by market_data", "NEW report of the venue in Kafka"],
    )
    assert {f"processed by {service}" for service in ("features", "execution", "risk")} < set(steps)
