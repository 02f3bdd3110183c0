"""Exits of a bracket at the broker: one OCO order, whose stop works while the gateway is down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from deploy.alpaca_server import AlpacaServer
from deploy.alpaca_server.broker_order import BrokerOrder
from operators.gateway import GatewayStage
from schemas.records import BUY, CANCELED, READY, REPLACED, SELL, TRADE, BrokerAccount
from tests.builders import fence, order, order_cancel
from tests.unit.alpaca_broker import local_broker
from tests.unit.gateway_session import GatewaySession

TAKE, STOP_LOSS = "ord-2", "ord-3"


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    with local_broker() as running:
        yield running


@pytest.fixture
def session(server: AlpacaServer) -> Iterator[GatewaySession]:
    """A session that holds 10 shares, with both exits at the broker as one OCO order."""
    one = GatewaySession(server)
    one.run_until_ready()
    exits: dict[str, Any] = {"group_id": "g", "parent_id": "prop-1", "reduce_only": True, "time_in_force": "GTC"}
    one.step(
        order(1, BUY, 10),
        order(2, SELL, 10, limit_price=110, **exits),
        order(3, SELL, 10, stop_price=90, **exits),
    )
    fill_entry(server, one)
    one.run_until(lambda: stop_at_broker(server) is not None, "the exits arrive")
    one.run_until(lambda: accepted(one, STOP_LOSS), "the stop is reported")
    yield one
    one.kill()


def set_price(server: AlpacaServer, price: float, *, fill_max: int | None = None) -> None:
    server.broker.book.fill_quantity_max = None if fill_max is None else Decimal(fill_max)
    server.run_coroutine(server.broker.publish_price("AAPL", price, time.time_ns()))


def fill_entry(server: AlpacaServer, session: GatewaySession) -> None:
    session.run_until(lambda: "p-ord-1" in server.broker.book.by_client, "the entry arrives")
    set_price(server, 100)
    session.run_until(lambda: session.position("AAPL") == 10, "the entry fills")


def open_orders(server: AlpacaServer) -> list[BrokerOrder]:
    open_states = ("new", "held", "partially_filled")
    return [one for one in list(server.broker.book.orders.values()) if one.status in open_states]


def stop_at_broker(server: AlpacaServer) -> BrokerOrder | None:
    return next((one for one in open_orders(server) if one.is_attached), None)


def accepted(session: GatewaySession, order_id: str) -> bool:
    return any(one.order_id == order_id and one.exec_type == "NEW" for one in session.executions)


def restart(session: GatewaySession) -> None:
    """Start the gateway from a snapshot, as its successor does."""
    snapshot = session.stage.snapshot()
    session.stage = GatewayStage(session.stage.settings)
    session.stage.restore(snapshot)
    session.open()


def run_until_reconciled(session: GatewaySession) -> None:
    """The broker's account and the gateway's books agree, and nothing of the gateway is left at the broker."""
    session.run_until(lambda: session.statuses[-1].state == READY, "reconciled")


def test_the_stop_triggers_while_the_gateway_is_dead_and_the_books_agree(
    server: AlpacaServer, session: GatewaySession
) -> None:
    session.kill()
    set_price(server, 89)
    assert server.broker.book.positions == {} and open_orders(server) == []
    restart(session)
    session.run_until(lambda: session.final_exec_type(STOP_LOSS) == TRADE, "the fill of the stop")
    session.run_until(lambda: session.final_exec_type(TAKE) == CANCELED, "the end of the take profit")
    assert session.trades(STOP_LOSS) == [(10, 89)] and session.position("AAPL") == 0
    run_until_reconciled(session)


def test_the_take_profit_fills_while_the_gateway_is_dead(server: AlpacaServer, session: GatewaySession) -> None:
    session.kill()
    set_price(server, 111)
    restart(session)
    session.run_until(lambda: session.final_exec_type(TAKE) == TRADE, "the fill of the take profit")
    session.run_until(lambda: session.final_exec_type(STOP_LOSS) == CANCELED, "the end of the stop")
    assert session.position("AAPL") == 0 and server.broker.book.positions == {}
    run_until_reconciled(session)


def test_a_part_fill_of_the_take_profit_leaves_the_stop_for_the_rest(
    server: AlpacaServer, session: GatewaySession
) -> None:
    set_price(server, 111, fill_max=4)
    session.run_until(lambda: session.position("AAPL") == 6, "the part fill")
    stop = stop_at_broker(server)
    assert stop is not None and stop.quantity == 6, "exits never exceed the position"
    session.kill()
    set_price(server, 89)
    restart(session)
    session.run_until(lambda: session.final_exec_type(STOP_LOSS) is not None, "the end of the stop")
    assert session.trades(STOP_LOSS) == [(6, 89)] and session.position("AAPL") == 0
    session.run_until(lambda: session.final_exec_type(TAKE) == CANCELED, "the end of the take profit")
    run_until_reconciled(session)


def test_a_cancelled_take_profit_leaves_the_stop_at_the_broker(server: AlpacaServer, session: GatewaySession) -> None:
    session.step(order_cancel(1, TAKE))
    session.run_until(lambda: session.final_exec_type(TAKE) == CANCELED, "the cancel")
    session.run_until(lambda: [one.type for one in open_orders(server)] == ["stop"], "the stop alone")
    assert session.final_exec_type(STOP_LOSS) is None
    set_price(server, 89)
    session.run_until(lambda: session.position("AAPL") == 0, "the stop")
    assert server.broker.book.positions == {}


def test_an_amended_stop_is_an_oco_order_again(server: AlpacaServer, session: GatewaySession) -> None:
    terms: dict[str, Any] = {"group_id": "g", "parent_id": "prop-1", "reduce_only": True, "time_in_force": "GTC"}
    session.step(order(4, SELL, 10, stop_price=95, replaces=STOP_LOSS, **terms))
    session.run_until(lambda: session.final_exec_type(STOP_LOSS) == REPLACED, "the amendment")
    session.run_until(
        lambda: (stop := stop_at_broker(server)) is not None and stop.stop_price == 95, "the new stop is attached"
    )
    assert session.final_exec_type(TAKE) is None
    set_price(server, 94)
    session.run_until(lambda: session.final_exec_type("ord-4") == TRADE, "the stop")
    assert session.position("AAPL") == 0 and server.broker.book.positions == {}


def test_a_halt_cancels_both_parts(server: AlpacaServer, session: GatewaySession) -> None:
    session.step(fence(2, epoch=1, reason="by hand"))
    session.run_until(lambda: session.final_exec_type(STOP_LOSS) == CANCELED, "the cancel of the stop")
    session.run_until(lambda: session.final_exec_type(TAKE) == CANCELED, "the cancel of the take profit")
    assert open_orders(server) == [] and session.position("AAPL") == 10


def test_a_crash_between_intent_and_response_sends_the_exits_once(server: AlpacaServer) -> None:
    session = GatewaySession(server)
    session.run_until_ready()
    exits: dict[str, Any] = {"group_id": "g", "reduce_only": True, "time_in_force": "GTC"}
    session.step(order(1, BUY, 10))
    fill_entry(server, session)
    server.broker.plan_fault("submit", "lost_answer", 1, delay_s=1.0)
    session.step(order(2, SELL, 10, limit_price=110, **exits), order(3, SELL, 10, stop_price=90, **exits))
    session.run_until(lambda: stop_at_broker(server) is not None, "the exits arrive")
    session.kill()
    restart(session)
    session.run_until(lambda: accepted(session, STOP_LOSS) and accepted(session, TAKE), "both are found again")
    assert len(open_orders(server)) == 2 and set(server.broker.book.submission_counts.values()) == {1}
    set_price(server, 89)
    session.run_until(lambda: session.final_exec_type(STOP_LOSS) == TRADE, "the stop")
    assert session.position("AAPL") == 0
    session.kill()


def test_a_rejected_oco_order_ends_both_orders(server: AlpacaServer, session: GatewaySession) -> None:
    """The position was sold by hand, so that the broker rejects exits."""
    session.step(order_cancel(1, TAKE), order_cancel(2, STOP_LOSS))
    session.run_until(lambda: open_orders(server) == [], "no exits")
    session.run_until(lambda: session.final_exec_type(STOP_LOSS) is not None, "the cancel is reported")
    server.broker.book.positions.clear()
    exits: dict[str, Any] = {"group_id": "h", "reduce_only": True, "time_in_force": "GTC"}
    session.step(order(5, SELL, 10, limit_price=110, **exits), order(6, SELL, 10, stop_price=90, **exits))
    session.run_until(lambda: session.final_exec_type("ord-6") == "REJECTED", "the stop is rejected")
    assert session.final_exec_type("ord-5") == "REJECTED"


def test_account_snapshots_match_while_the_oco_order_works(server: AlpacaServer, session: GatewaySession) -> None:
    accounts = 0

    def received_two_more() -> bool:
        nonlocal accounts
        with session._lock:
            accounts += sum(isinstance(one, BrokerAccount) for one in session._edge_records)
        return accounts >= 3

    session.run_until(received_two_more, "account snapshots")
    assert session.statuses[-1].state == READY
