"""After a restore from a backup, no order is approved before the books match the broker's, and none is mistaken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from dataflows.broker.updates import gateway_update
from deploy.alpaca_server import AlpacaServer
from schemas.records import DISCONNECTED, DOWN, READY, RECONCILING, REJECTED, TRADE, GatewayStatus
from tests.builders import order
from tests.unit.alpaca_broker import local_broker
from tests.unit.gateway_session import PREFIX, GatewaySession


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


def at_broker(server: AlpacaServer, name: str) -> bool:
    return PREFIX + name in server.broker.book.by_client


def restore(session: GatewaySession, snapshot: object) -> list[GatewayStatus]:
    """Continue from a snapshot, as after a restore. Returns the statuses of the first time slice."""
    session.kill()
    session.stage = type(session.stage)(session.stage.settings)
    session.stage.restore(snapshot)
    session.intents.clear()
    session.statuses.clear()
    session._edge_records.clear()  # of the killed client
    session.step(gateway_update(DISCONNECTED, time.time_ns(), "restored from the backup of today"))
    return list(session.statuses)


def test_an_order_that_only_the_broker_knows_blocks_trading_after_a_restore(
    server: AlpacaServer, session: GatewaySession
) -> None:
    snapshot = session.stage.snapshot()
    session.step(order(1, limit_price=50))
    session.run_until(lambda: at_broker(server, "ord-1"), "the order after the backup arrives")
    [first] = restore(session, snapshot)
    assert (first.state, first.reason) == (DOWN, "restored from the backup of today")
    session.open()
    session.run_until(
        lambda: session.statuses[-1].state == RECONCILING and "ord-1" in session.statuses[-1].reason, "the difference"
    )
    assert session.statuses[-1].reason == "order ord-1 is open at the broker but not here"
    assert READY not in [status.state for status in session.statuses]


def test_an_order_with_the_id_of_a_lost_order_is_rejected(server: AlpacaServer, session: GatewaySession) -> None:
    """The restored risk service numbers its orders on from the backup. A fill of the lost order is not booked again."""
    snapshot = session.stage.snapshot()
    session.step(order(1))
    session.run_until(lambda: at_broker(server, "ord-1"), "the order after the backup arrives")
    server.run_coroutine(server.broker.publish_price("AAPL", 100, time.time_ns()))
    session.run_until(lambda: session.final_exec_type("ord-1") == TRADE, "the fill")
    restore(session, snapshot)
    session.executions.clear()
    session.open()
    session.run_until(lambda: "position is 0 here" in session.statuses[-1].reason, "the difference")
    session.step(order(1))
    session.run_until(lambda: session.final_exec_type("ord-1") is not None, "the end of the new order")
    assert session.final_exec_type("ord-1") == REJECTED
    assert "the broker has an order with this id from before the platform was restored" in session.executions[-1].text
    assert session.trades("ord-1") == []
    assert server.broker.book.positions == {"AAPL": Decimal(10)}
