"""The gateway and its broker client with a real server that speaks Alpaca's protocol and injects scripted faults."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from dataflows.broker.request_budget import RESERVED_FOR_CANCELS, RequestBudget
from deploy.alpaca_server import AlpacaServer
from schemas.records import CANCELED, EXPIRED, READY, REJECTED, TRADE
from sinks.leases import LeaseLost
from tests.builders import fence, order, order_cancel
from tests.unit.alpaca_broker import client, local_broker, wait_for
from tests.unit.gateway_session import FAST_EDGE_SETTINGS, PREFIX, GatewaySession


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    with local_broker() as running:
        yield running


@pytest.fixture
def session(server: AlpacaServer) -> Iterator[GatewaySession]:
    gateway_session = GatewaySession(server)
    gateway_session.run_until_ready()
    yield gateway_session
    gateway_session.kill()


def move(server: AlpacaServer, price: float) -> None:
    server.run_coroutine(server.broker.publish_price("AAPL", price, time.time_ns()))


def at_broker(server: AlpacaServer, name: str) -> bool:
    return PREFIX + name in server.broker.book.by_client


def test_an_order_goes_to_the_broker_and_its_fill_comes_back(server: AlpacaServer, session: GatewaySession) -> None:
    session.step(order(1))
    session.run_until(lambda: at_broker(server, "ord-1"), "the order arrives")
    move(server, 101.25)
    session.run_until(lambda: session.final_exec_type("ord-1") == TRADE, "the fill")
    assert session.trades("ord-1") == [(10, Decimal("101.25"))]
    assert server.broker.book.positions == {"AAPL": session.position("AAPL")}


@pytest.mark.parametrize(
    ("place", "kind", "options"),
    [
        ("submit", "lost_answer", {}),
        ("submit", "lost_answer", {"delay_s": 1.0}),
        ("submit", "lost_request", {}),
        ("submit", "lost_request", {"delay_s": 1.0}),
        ("submit", "status", {"status": 500}),
        ("submit", "status", {"status": 503}),
        ("submit", "status", {"status": 429}),
        ("ask", "status", {"status": 500}),
        ("account", "status", {"status": 502}),
        ("update", "drop", {"event": "new"}),
        ("update", "drop", {"event": "fill"}),
        ("update", "drop", {"event": "partial_fill"}),
        ("update", "duplicate", {"event": "partial_fill"}),
        ("update", "duplicate", {"event": "fill"}),
        ("update", "late", {"event": "partial_fill", "delay_s": 0.5}),
        ("update", "late", {"event": "fill", "delay_s": 0.5}),
        ("update", "swap", {"event": "partial_fill"}),
        ("update", "swap", {"event": "new"}),
    ],
)
def test_no_fault_loses_or_doubles_an_order_or_a_fill(
    server: AlpacaServer, session: GatewaySession, place: str, kind: str, options: dict[str, Any]
) -> None:
    server.broker.book.fill_quantity_max = Decimal(6)
    server.broker.plan_fault(place, kind, 1, **options)
    session.step(order(1))
    session.run_until(lambda: at_broker(server, "ord-1"), "the order arrives")
    move(server, 100)
    move(server, 102)
    session.run_until(lambda: session.final_exec_type("ord-1") is not None, "the end")
    session.run_until_ready()
    assert session.final_exec_type("ord-1") == TRADE
    assert server.broker.book.submission_counts == {PREFIX + "ord-1": 1}
    trades = session.trades("ord-1")
    assert sum(quantity for quantity, _ in trades) == 10
    traded_value = sum((quantity * price for quantity, price in trades), Decimal(0))
    assert abs(traded_value - (6 * 100 + 4 * 102)) < Decimal("0.00001")


def test_orders_fill_after_the_socket_disconnects(server: AlpacaServer, session: GatewaySession) -> None:
    session.step(order(1))
    session.run_until(lambda: at_broker(server, "ord-1"), "the order arrives")
    server.run_coroutine(server.broker.disconnect())
    move(server, 100)
    session.run_until(lambda: session.final_exec_type("ord-1") == TRADE, "the fill whose report was lost")
    assert session.trades("ord-1") == [(10, 100)]
    assert "DOWN" in [status.state for status in session.statuses]
    session.run_until_ready()


def test_orders_wait_until_the_update_stream_is_connected(server: AlpacaServer, session: GatewaySession) -> None:
    server.broker.rejects_connections = True
    server.run_coroutine(server.broker.disconnect())
    session.run_until(lambda: session.statuses[-1].state != READY, "the cut is noticed")
    session.step(order(1))
    for _ in range(10):
        session.step()
        time.sleep(0.02)
    assert not at_broker(server, "ord-1")
    server.broker.rejects_connections = False
    session.run_until(lambda: at_broker(server, "ord-1"), "the order arrives")


def test_a_cancel_and_a_fence_reach_the_broker(server: AlpacaServer, session: GatewaySession) -> None:
    session.step(order(1, limit_price=50), order(2, limit_price=50))
    session.run_until(lambda: at_broker(server, "ord-2"), "both arrive")
    server.broker.plan_fault("cancel", "status", 2, status=500)
    session.step(order_cancel(3, "ord-1"))
    session.run_until(lambda: session.final_exec_type("ord-1") == CANCELED, "the cancel")
    session.step(fence(4, epoch=1))
    session.run_until(lambda: session.final_exec_type("ord-2") == CANCELED, "the fence")
    assert [o.status for o in server.broker.book.orders.values()] == ["canceled", "canceled"]


def test_broker_refusal_becomes_a_rejection_with_its_message(session: GatewaySession) -> None:
    session.step(order(1, quantity=1_000_000))
    session.run_until(lambda: session.final_exec_type("ord-1") is not None, "the refusal")
    assert session.final_exec_type("ord-1") == REJECTED
    assert session.executions[-1].text == "insufficient buying power"


def test_an_order_that_is_too_old_is_not_sent(server: AlpacaServer, session: GatewaySession) -> None:
    session.step(order(1))
    session.run_until(lambda: at_broker(server, "ord-1"), "the order arrives")
    session.step(order(2))
    # The old timestamp simulates a suspended process.
    session.edge.enqueue([(session.intents[0]._replace(client_order_id="ord-9", ts_ns=1), False)])
    session.run_until(lambda: at_broker(server, "ord-2"), "the younger one arrives")
    session.run_until(lambda: "ord-9" in session.rejected_client_order_ids, "the old one is rejected")
    assert not at_broker(server, "ord-9")


def test_after_a_crash_each_order_is_at_the_broker_once(server: AlpacaServer, session: GatewaySession) -> None:
    """Kill the broker client before, during and after its requests. Orders fill while it is down."""
    server.broker.plan_fault("submit", "lost_answer", 1, delay_s=1.0)
    session.step(*(order(number, quantity=number) for number in (1, 2, 3)))
    session.run_until(lambda: at_broker(server, "ord-1"), "the first arrives")
    session.kill()
    move(server, 100)
    session.step(order(4, quantity=4))
    session.open()
    session.run_until(lambda: all(at_broker(server, f"ord-{n}") for n in (1, 2, 3, 4)), "all arrive")
    move(server, 101)
    session.run_until(lambda: all(session.final_exec_type(f"ord-{n}") == TRADE for n in (1, 2, 3, 4)), "all end")
    session.run_until_ready()
    assert server.broker.book.submission_counts == {f"{PREFIX}ord-{n}": 1 for n in (1, 2, 3, 4)}
    assert server.broker.book.positions == {"AAPL": session.position("AAPL")} == {"AAPL": 10}


def test_orders_trade_after_a_broker_outage(server: AlpacaServer, session: GatewaySession) -> None:
    session.step(order(1))
    session.run_until(lambda: at_broker(server, "ord-1"), "the order arrives")
    server.__exit__()
    session.run_until(lambda: session.statuses[-1].state == "DOWN", "it is noticed")
    session.step(order(2))
    port = int(server.url.rsplit(":", 1)[1])
    with local_broker(port=port, broker=server.broker) as restarted:
        move(restarted, 100)
        session.run_until(lambda: at_broker(restarted, "ord-2"), "the second arrives")
        move(restarted, 101)
        session.run_until(lambda: session.final_exec_type("ord-2") == TRADE, "both trade")
        session.run_until_ready()
        assert restarted.broker.book.submission_counts == {PREFIX + "ord-1": 1, PREFIX + "ord-2": 1}
        assert session.trades("ord-1") == [(10, 100)]


def test_trades_by_others_on_the_account_are_reported(server: AlpacaServer, session: GatewaySession) -> None:
    from alpaca.trading.enums import OrderSide, TimeInForce
    from alpaca.trading.requests import MarketOrderRequest

    terms = {"symbol": "MSFT", "qty": 7, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}
    client(server).submit_order(MarketOrderRequest(**terms))
    server.run_coroutine(server.broker.publish_price("MSFT", 50, time.time_ns()))
    session.run_until(lambda: session.statuses[-1].state == "RECONCILING", "the difference")
    assert session.statuses[-1].reason == "MSFT: position is 0 here, 7 at the broker"


def test_an_order_that_expires_at_the_broker_expires_in_the_platform(
    server: AlpacaServer, session: GatewaySession
) -> None:
    session.step(order(1, limit_price=50), order(2, limit_price=40))
    session.run_until(lambda: at_broker(server, "ord-2"), "both arrive")

    async def close() -> None:
        for broker_order in list(server.broker.book.orders.values()):
            server.broker.book.end_order(broker_order, "expired")

    server.run_coroutine(close())
    session.run_until(lambda: session.final_exec_type("ord-2") == EXPIRED, "the end of the day")
    assert session.final_exec_type("ord-1") == EXPIRED


def test_cancels_are_allowed_when_the_request_budget_is_spent() -> None:
    budget = RequestBudget(30)
    sent = 0
    while budget.allows(100.0):
        budget.record(100.0)
        sent += 1
    assert sent == 30 - RESERVED_FOR_CANCELS
    assert budget.allows(100.0, cancel=True)
    assert budget.allows(160.0), "a minute later"
    budget.pause_until(170.0)
    assert not budget.allows(165.0, cancel=True)


def test_a_throttled_client_sends_less_than_the_broker_accepts_and_leaves_room_for_cancels() -> None:
    """With a setting above the broker's limit, the kill switch would be rejected like every other request."""
    budget = RequestBudget(3_000)
    budget.record(100.0, 200)
    budget.throttled(101.0, 1.0)
    assert not budget.allows(101.5, cancel=True) and not budget.allows(102.5, cancel=True), "180 a minute from now on"
    assert budget.allows(161.0)
    budget.record(161.0, 180 - RESERVED_FOR_CANCELS)
    assert not budget.allows(162.0) and budget.allows(162.0, cancel=True)
    budget.throttled(163.0, 1.0)
    assert budget.allows(164.0, cancel=True) is False
    budget.record(225.0, 144 - RESERVED_FOR_CANCELS)
    assert not budget.allows(225.0) and budget.allows(225.0, cancel=True), "144, nine tenths of 160"


def test_requests_for_market_data_have_a_limit_of_their_own() -> None:
    with local_broker(requests_per_minute=2) as server:
        assert [server.broker.is_rate_limited(of_market_data=True) for _ in range(3)] == [False, False, True]
        assert not server.broker.is_rate_limited(of_market_data=False)


def test_a_rate_limit_only_delays() -> None:
    with local_broker(requests_per_minute=25) as server:
        gateway_session = GatewaySession(
            server, edge=FAST_EDGE_SETTINGS.model_copy(update={"requests_per_minute": 10_000})
        )
        gateway_session.run_until_ready()
        wait_for(lambda: len(server.broker.requests) > 25, "the limit is passed")
        gateway_session.step(order(1))
        server.broker.requests_per_minute = 10_000
        gateway_session.run_until(lambda: at_broker(server, "ord-1"), "the order arrives nevertheless")
        gateway_session.kill()


def test_an_order_waits_while_the_state_of_the_lease_is_undetermined(
    server: AlpacaServer, session: GatewaySession
) -> None:
    checks: list[bool] = []

    def unknown() -> bool:
        checks.append(True)
        return False

    session.edge._api._may_submit = unknown
    session.step(order(1))
    session.run_until(lambda: len(checks) > 0, "the check")
    assert not at_broker(server, "ord-1")
    session.edge._api._may_submit = lambda: True
    session.run_until(lambda: at_broker(server, "ord-1"), "the order arrives")


def test_a_gateway_that_lost_its_lease_submits_nothing_and_ends(server: AlpacaServer, session: GatewaySession) -> None:
    def lost() -> bool:
        raise LeaseLost("the lease of execution (epoch 1) was taken by another process; this process stops")

    session.edge._api._may_submit = lost
    session.step(order(1))
    session.run_until(lambda: session.edge.failed, "the client's thread ends")
    assert not at_broker(server, "ord-1")


def move_cash(server: AlpacaServer, activity_type: str, amount: str, text: str = "") -> None:
    async def move() -> None:
        server.broker.book.move_cash(activity_type, Decimal(amount), text)

    server.run_coroutine(move())


def test_cash_that_moves_at_the_broker_is_booked_once_and_agrees(server: AlpacaServer) -> None:
    """Two pages of activities are from before the platform. Later ones are booked once, also over a restart."""
    for _ in range(150):
        move_cash(server, "CSD", "1")
    move_cash(server, "CSW", "-150")
    session = GatewaySession(server, cash_tolerance=Decimal("0.005"))
    try:
        session.run_until_ready()
        assert session.transfers == []
        move_cash(server, "CSD", "250.5", "wire")
        session.run_until(lambda: len(session.transfers) == 1, "the deposit")
        assert (session.transfers[0].kind, session.transfers[0].amount) == ("DEPOSIT", Decimal("250.5"))
        session.kill()
        move_cash(server, "FEE", "-3", "Wire fee")
        session.open()
        session.run_until(lambda: len(session.transfers) == 2, "the fee")
        session.run_until_ready()
        assert session.transfers[1].kind == "FEE"
        # Cash without an activity, as after a change by hand: the books do not agree, and no order is sent.
        server.broker.book.cash += 1
        session.run_until(lambda: session.statuses[-1].state == "RECONCILING", "the difference")
        assert session.statuses[-1].reason == "cash: 1 USD more at the broker than here"
    finally:
        session.kill()


def test_a_broker_without_activities_still_reconciles(server: AlpacaServer) -> None:
    server.broker.plan_fault("activities", "status", 1000, status=404)
    session = GatewaySession(server)
    try:
        session.run_until_ready()
    finally:
        session.kill()
