"""Crypto at the broker: fractions of a coin, a time in force that it takes, and books that agree with its positions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from deploy.alpaca_server import AlpacaServer
from operators.gateway import GatewayStage
from schemas.records import BUY, CANCELED, DAY, IOC, READY, SELL, TRADE
from tests.builders import bar, order
from tests.unit.alpaca_broker import local_broker
from tests.unit.gateway_session import GatewaySession

PAIR = "BTC/USD"


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    with local_broker(PAIR) as running:
        yield running


@pytest.fixture
def session(server: AlpacaServer) -> Iterator[GatewaySession]:
    one = GatewaySession(server)
    one.run_until_ready()
    yield one
    one.kill()


def set_price(server: AlpacaServer, price: float) -> None:
    server.run_coroutine(server.broker.publish_price(PAIR, price, time.time_ns()))


def arrives(server: AlpacaServer, session: GatewaySession, name: str) -> None:
    session.run_until(lambda: f"p-{name}" in server.broker.book.by_client, f"{name} arrives")


def test_a_day_order_for_a_fraction_fills_and_the_books_agree(server: AlpacaServer, session: GatewaySession) -> None:
    session.step(order(1, BUY, "0.1", PAIR, time_in_force=DAY))
    arrives(server, session, "ord-1")
    assert server.broker.book.by_client["p-ord-1"].time_in_force == "gtc"
    set_price(server, 100)
    session.run_until(lambda: session.final_exec_type("ord-1") == TRADE, "the fill")
    session.step(order(2, SELL, "0.1", PAIR, time_in_force=IOC))
    arrives(server, session, "ord-2")
    statuses = len(session.statuses)
    set_price(server, 100)
    session.run_until(lambda: session.position(PAIR) == 0, "the sale")
    assert [status.state for status in session.statuses[statuses:] if status.state != READY] == []


def test_the_position_of_a_pair_is_reconciled(server: AlpacaServer, session: GatewaySession) -> None:
    session.step(order(1, BUY, "0.25", PAIR, time_in_force=DAY))
    arrives(server, session, "ord-1")
    set_price(server, 100)
    session.run_until(lambda: session.position(PAIR) == Decimal("0.25"), "the fill")
    session.kill()
    snapshot, statuses = session.stage.snapshot(), len(session.statuses)
    session.stage = GatewayStage(session.stage.settings)
    session.stage.restore(snapshot)
    session.open()
    session.run_until(lambda: [one.state for one in session.statuses[statuses:]][-1:] == [READY], "the books agree")


def test_a_day_order_is_canceled_at_the_end_of_the_day(server: AlpacaServer, session: GatewaySession) -> None:
    session.step(bar(PAIR, 1, 60, day=20240102), order(1, BUY, "0.1", PAIR, limit_price=90, time_in_force=DAY))
    arrives(server, session, "ord-1")
    session.step(bar(PAIR, 2, 120, day=20240103))
    session.run_until(lambda: session.final_exec_type("ord-1") == CANCELED, "the end of the day")
    assert server.broker.book.by_client["p-ord-1"].status == "canceled"
