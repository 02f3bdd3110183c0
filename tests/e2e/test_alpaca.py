"""The platform on a broker that speaks Alpaca's protocol: bars and quotes from its socket, orders to its book."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal

import psycopg2
import pytest

from dataflows.replay.comparison import compare
from dataflows.replay.recording import recording
from deploy.alpaca_server import Server, ServerSettings
from deploy.local.ports import free_ports
from deploy.verification.broker import check_broker
from schemas.codec import decode, encode
from schemas.records import Bar, Command, Execution, GatewayStatus, Position, Quote
from tests.e2e.conftest import MakePlatform
from tests.e2e.platform import Platform

SYMBOLS = ("AAPL", "MSFT", "SPY")


@pytest.fixture
def server() -> Iterator[Server]:
    settings = ServerSettings(
        port=free_ports(1)[0], symbols=SYMBOLS, bar_interval_s=1, step_s=0.1, requests_per_minute=5000
    )
    with Server(settings) as running:
        yield running


@pytest.fixture
def platform(server: Server, make_platform: MakePlatform) -> Iterator[Platform]:
    told = {
        "MARKET_DATA__FEED": "alpaca",
        "MARKET_DATA__LIVE__SYMBOLS": json.dumps(SYMBOLS),
        "MARKET_DATA__LIVE__CALENDAR": "24/7",
        "MARKET_DATA__LIVE__BAR_INTERVAL_S": "1",
        "MARKET_DATA__LIVE__WAIT_S": "0.5",
        "MARKET_DATA__LIVE__STALE_S": "5",
        "EXECUTION__BROKER": "alpaca",
        "EXECUTION__ALPACA__REQUESTS_PER_MINUTE": "3000",
        "EXECUTION__ALPACA__RECONCILE_S": "1",
        "EXECUTION__ALPACA__SETTLE_S": "2",
        "ALPACA__URL": server.url,
    }
    with make_platform(told=told) as made:
        yield made


def buy(platform: Platform, symbol: str, side: str = "BUY") -> str:
    """An order by hand; returns the order's id."""
    name = uuid.uuid4().hex[:8]
    terms = {"symbol": symbol, "side": side, "quantity": "5"}
    command = Command(f"cmd-{name}", time.time_ns(), "SUBMIT_ORDER", "tester", "test", terms)
    platform.produce("commands", 0, encode(command))
    return f"ord-cmd-{name}"


def executions(platform: Platform) -> list[Execution | GatewayStatus]:
    """Each once: a restart repeats some."""
    found = {}
    for value in platform.messages("executions"):
        record = decode(value)
        if isinstance(record, Execution | GatewayStatus):
            found[record.seq] = record
    return list(found.values())


def filled(platform: Platform, order_id: str) -> bool:
    return any(
        isinstance(one, Execution) and one.order_id == order_id and one.exec_type == "TRADE" and not one.leaves_quantity
        for one in executions(platform)
    )


def booked(platform: Platform, order_id: str) -> bool:
    """Whether the ledger has all that the order traded: it is a service of its own, behind the gateway's."""
    traded = {
        one.execution_id
        for one in executions(platform)
        if isinstance(one, Execution) and one.order_id == order_id and one.exec_type == "TRADE"
    }
    positions = [decode(value) for value in platform.messages("positions")]
    return filled(platform, order_id) and traded <= {p.execution_id for p in positions if isinstance(p, Position)}


def ready(platform: Platform) -> bool:
    states = [one.state for one in executions(platform) if isinstance(one, GatewayStatus)]
    return bool(states) and states[-1] == "READY"


def test_from_a_bar_of_the_socket_to_a_fill_of_the_broker_with_a_kill_in_between(
    server: Server, platform: Platform
) -> None:
    platform.begin()
    platform.wait_until(lambda: ready(platform), "the gateway is reconciled")
    first = buy(platform, "AAPL")
    platform.wait_until(lambda: filled(platform, first), "the first fill")
    # Two more; the gateway dies while the broker has them, and one comes while it is gone.
    server.broker.plan("submit", "lost_answer", 1, delay_s=1.0)
    more = [buy(platform, "MSFT"), buy(platform, "SPY")]
    platform.wait_until(
        lambda: any(more[0] in name or more[1] in name for name in server.broker.book.submits), "an order arrives"
    )
    platform.kill9("execution")
    more.append(buy(platform, "MSFT"))
    platform.start("execution")
    platform.wait_until(lambda: all(filled(platform, name) for name in more), "all fills")
    platform.kill9("market_data")
    platform.start("market_data")
    platform.wait_until(lambda: ready(platform), "the gateway is reconciled again")
    last = buy(platform, "AAPL", "SELL")
    platform.wait_until(lambda: booked(platform, last), "the last fill in the books")
    platform.stop()

    submits = server.broker.book.submits
    assert set(submits.values()) == {1}, "each client_order_id once"
    mine = [name for name in submits if "ord-cmd-" in name]
    assert sorted(name.split("-", 1)[1] for name in mine) == sorted([first, *more, last])
    ours: dict[str, int] = {}
    for one in executions(platform):
        if isinstance(one, Execution) and one.exec_type == "TRADE":
            signed = one.quantity if one.side == "BUY" else -one.quantity
            ours[one.symbol] = ours.get(one.symbol, 0) + int(signed)
    theirs = {symbol: int(held) for symbol, held in server.broker.book.positions.items()}
    assert {symbol: held for symbol, held in ours.items() if held} == theirs
    bars: dict[str, list[Bar]] = {}
    quotes = 0
    for partition in range(platform.partitions):
        for value in platform.messages("market-bars", partition):
            record = decode(value)
            if isinstance(record, Bar):
                bars.setdefault(record.symbol, []).append(record)
        quotes += sum(isinstance(decode(value), Quote) for value in platform.messages("market-quotes", partition))
    assert set(bars) == set(SYMBOLS) and quotes > 10
    for symbol, rows in bars.items():
        seqs = [row.seq for row in rows]
        opens = [row.open_ns for row in rows]
        assert seqs == list(range(1, len(rows) + 1)), f"{symbol}: without gap or repeat over a kill"
        assert opens == sorted(set(opens))
    with psycopg2.connect(platform.servers.database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT client_order_id) FROM order_intents WHERE kind = 'SUBMIT'")
        counted = cursor.fetchone()
    assert counted is not None and counted[0] == counted[1] == len(submits)

    checked = check_broker(platform.servers.database_url, {})
    assert checked.difference is None and checked.records >= len(theirs)
    somebody_elses = check_broker(platform.servers.database_url, {"AAPL": Decimal(7)})
    assert somebody_elses.difference is not None and "position of AAPL is" in somebody_elses.difference

    # What the broker said is given: replayed, the gateway writes the same intents, executions and statuses.
    told = platform.own_settings()
    replayed = compare(told, recording(told.kafka, platform.prefix + "replay"))
    assert replayed.difference is None, replayed.difference
    assert replayed.records["OrderIntent"] >= len(submits)
    assert replayed.given["BrokerUpdate"] > len(submits)
