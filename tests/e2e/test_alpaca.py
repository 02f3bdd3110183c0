"""The platform on a server with Alpaca's protocol: bars and quotes from its WebSocket, orders to its book."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal

import psycopg2
import pytest

from dataflows.replay.comparison import compare
from dataflows.replay.recording import open_recording
from deploy.alpaca_server import AlpacaServer, ServerSettings
from deploy.local.ports import free_ports
from deploy.verification.broker import check_broker
from operators.kill_switch import AT_ONCE
from operators.manual_orders import order_id_of
from schemas.codec import decode, encode
from schemas.records import (
    HALTED,
    KILL_SWITCH,
    NEW,
    TRADE,
    Bar,
    CashTransfer,
    Clock,
    Command,
    Execution,
    GatewayStatus,
    Order,
    OrderRefusal,
    Position,
    Quote,
    RiskFence,
)
from tests.builders import command
from tests.e2e.conftest import MakePlatform
from tests.e2e.process_platform import ProcessPlatform

SYMBOLS = ("AAPL", "MSFT", "SPY")


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    settings = ServerSettings(
        port=free_ports(1)[0],
        symbols=SYMBOLS,
        bar_interval_s=1,
        step_s=0.1,
        cash=Decimal(100_000),  # the initial capital of the settings
        requests_per_minute=5000,
    )
    with AlpacaServer(settings) as running:
        yield running


@pytest.fixture
def platform(server: AlpacaServer, make_platform: MakePlatform) -> Iterator[ProcessPlatform]:
    overrides = {
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
        # The strategies trade the same symbols up to their size; manual orders must find room.
        "RISK_MANAGER__MAX_POSITION_SIZE": "100000",
    }
    with make_platform(overrides=overrides) as running:
        yield running


def submit_order(platform: ProcessPlatform, symbol: str, side: str = "BUY") -> str:
    """Submit a manual order and return its id."""
    suffix = uuid.uuid4().hex[:8]
    terms = {"symbol": symbol, "side": side, "quantity": "5"}
    platform.produce("commands", 0, encode(command(f"cmd-{suffix}", time.time_ns(), "SUBMIT_ORDER", terms)))
    return f"ord-cmd-{suffix}"


def executions(platform: ProcessPlatform) -> list[Execution | GatewayStatus]:
    """Return each execution and gateway status once. A restarted service may write some of them again."""
    by_seq = {}
    for value in platform.messages("executions"):
        record = decode(value)
        if isinstance(record, Execution | GatewayStatus):
            by_seq[record.seq] = record
    return list(by_seq.values())


def transfers(platform: ProcessPlatform) -> list[Decimal]:
    """Return the amounts of the cash transfers, each once."""
    records = [decode(value) for value in platform.messages("executions")]
    return list({record.seq: record.amount for record in records if isinstance(record, CashTransfer)}.values())


def is_filled(platform: ProcessPlatform, order_id: str) -> bool:
    """Whether a manual order is filled. Fails with the reason if it was refused or ended without a fill."""
    for value in platform.messages("order-refusals"):
        refusal = decode(value)
        if isinstance(refusal, OrderRefusal) and order_id_of(refusal.cause_id) == order_id:
            pytest.fail(f"risk refused {order_id}: {refusal.message}")
    for record in executions(platform):
        if isinstance(record, Execution) and record.order_id == order_id:
            assert record.exec_type in ("NEW", "TRADE"), f"{order_id}: {record}"
    return any(
        isinstance(record, Execution)
        and record.order_id == order_id
        and record.exec_type == "TRADE"
        and not record.leaves_quantity
        for record in executions(platform)
    )


def is_clocked(platform: ProcessPlatform, order_id: str) -> bool:
    """Whether a clock follows the command of an order, so that its time slice is fixed."""
    records = [decode(value) for value in platform.messages("commands")]
    found = [n for n, one in enumerate(records) if isinstance(one, Command) and order_id_of(one.command_id) == order_id]
    return bool(found) and any(isinstance(one, Clock) for one in records[found[0] :])


def is_booked(platform: ProcessPlatform, order_id: str) -> bool:
    """Whether the ledger contains all fills of the order. The ledger service is downstream of the gateway."""
    traded_ids = {
        record.execution_id
        for record in executions(platform)
        if isinstance(record, Execution) and record.order_id == order_id and record.exec_type == "TRADE"
    }
    positions = [decode(value) for value in platform.messages("positions")]
    return is_filled(platform, order_id) and traded_ids <= {
        p.execution_id for p in positions if isinstance(p, Position)
    }


def every_order_has_ended(platform: ProcessPlatform) -> bool:
    """Whether trading is halted, and every order is filled or has ended otherwise."""
    decisions = [decode(value) for value in platform.messages("orders")]
    reports = [record for record in executions(platform) if isinstance(record, Execution)]
    ended_ids = {
        one.order_id
        for one in reports
        if one.exec_type not in (NEW, TRADE) or (one.exec_type == TRADE and not one.leaves_quantity)
    }
    return any(isinstance(one, RiskFence) and one.state == HALTED for one in decisions) and all(
        one.order_id in ended_ids for one in decisions if isinstance(one, Order)
    )


def gateway_is_ready(platform: ProcessPlatform) -> bool:
    states = [record.state for record in executions(platform) if isinstance(record, GatewayStatus)]
    return bool(states) and states[-1] == "READY"


def test_orders_fill_at_the_broker_and_reconcile_across_service_kills(
    server: AlpacaServer, platform: ProcessPlatform
) -> None:
    platform.start_feed_last()
    platform.wait_until(lambda: gateway_is_ready(platform), "the gateway is reconciled")
    first_id = submit_order(platform, "AAPL")
    platform.wait_until(lambda: is_filled(platform, first_id), "the first fill")
    server.broker.book.move_cash("CSD", Decimal("2500.50"), "wire")
    platform.wait_until(lambda: transfers(platform) == [Decimal("2500.50")], "the deposit is booked")
    # The gateway is killed while two more orders are at the broker. A third order arrives while the gateway is down.
    server.broker.plan_fault("submit", "lost_answer", 1, delay_s=1.0)
    more_ids = [submit_order(platform, "MSFT"), submit_order(platform, "SPY")]
    platform.wait_until(
        lambda: any(more_ids[0] in name or more_ids[1] in name for name in server.broker.book.submission_counts),
        "an order arrives",
    )
    platform.kill("execution")
    more_ids.append(submit_order(platform, "MSFT"))
    # Risk refuses orders of a time slice in which the gateway reports that it reconciles.
    platform.wait_until(lambda: is_clocked(platform, more_ids[-1]), "the third order has its time slice")
    platform.start("execution")
    platform.wait_until(lambda: all(is_filled(platform, name) for name in more_ids), "all fills")
    platform.kill("market_data")
    platform.start("market_data")
    platform.wait_until(lambda: gateway_is_ready(platform), "the gateway is reconciled again")
    last_id = submit_order(platform, "AAPL", "SELL")
    platform.wait_until(lambda: is_booked(platform, last_id), "the last fill in the books")
    # The strategies go on trading. Without a halt, the broker could fill an order whose report no service reads.
    platform.produce("commands", 0, encode(command("cmd-halt", time.time_ns(), KILL_SWITCH, dict(AT_ONCE))))
    platform.wait_until(lambda: every_order_has_ended(platform), "the halt and the end of every order")
    platform.stop()

    submits = server.broker.book.submission_counts
    assert set(submits.values()) == {1}, "each client_order_id once"
    submitted_ids = [name for name in submits if "ord-cmd-" in name]
    assert sorted(name.split("-", 1)[1] for name in submitted_ids) == sorted([first_id, *more_ids, last_id])
    platform_positions: dict[str, int] = {}
    for record in executions(platform):
        if isinstance(record, Execution) and record.exec_type == "TRADE":
            signed = record.quantity if record.side == "BUY" else -record.quantity
            platform_positions[record.symbol] = platform_positions.get(record.symbol, 0) + int(signed)
    broker_positions = {symbol: int(quantity) for symbol, quantity in server.broker.book.positions.items()}
    assert {symbol: quantity for symbol, quantity in platform_positions.items() if quantity} == broker_positions
    bars: dict[str, list[Bar]] = {}
    quote_count = 0
    for partition in range(platform.partitions):
        for value in platform.messages("market-bars", partition):
            message = decode(value)
            if isinstance(message, Bar):
                bars.setdefault(message.symbol, []).append(message)
        quote_count += sum(isinstance(decode(value), Quote) for value in platform.messages("market-quotes", partition))
    assert set(bars) == set(SYMBOLS) and quote_count > 10
    for symbol, rows in bars.items():
        seqs = [row.seq for row in rows]
        opens = [row.open_ns for row in rows]
        assert seqs == list(range(1, len(rows) + 1)), f"{symbol}: without gap or repeat over a kill"
        assert opens == sorted(set(opens))
    with psycopg2.connect(platform.servers.database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT client_order_id FROM order_intents WHERE kind = 'SUBMIT'")
        intent_ids = [client_order_id for (client_order_id,) in cursor.fetchall()]
    sent_ids = {name.split("-", 1)[1] for name in submits}
    assert len(intent_ids) == len(set(intent_ids)) and sent_ids <= set(intent_ids)
    # The halt can stop an order between its approval and its request.
    unsent = [one for one in executions(platform) if isinstance(one, Execution) and one.order_id not in sent_ids]
    assert set(intent_ids) - sent_ids <= {one.order_id for one in unsent}
    assert not [one for one in unsent if one.exec_type == TRADE]

    matching_check = check_broker(platform.servers.database_url, {})
    assert matching_check.difference is None and matching_check.records >= len(broker_positions)
    mismatching_check = check_broker(platform.servers.database_url, {"AAPL": Decimal(7)})
    assert mismatching_check.difference is not None and "position of AAPL is" in mismatching_check.difference

    # Broker responses are inputs: a replay of the gateway writes the same intents, executions and statuses.
    settings = platform.read_settings()
    replayed = compare(settings, open_recording(settings.kafka, platform.prefix + "replay"))
    assert replayed.difference is None, replayed.difference
    assert replayed.records["OrderIntent"] >= len(submits)
    assert transfers(platform) == [Decimal("2500.50")], "once, although the gateway was killed after it"
    assert replayed.given["BrokerUpdate"] > len(submits)
