"""The books of a broker: a trade by hand halts until it is accepted, and a native stop works without the gateway."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from typing import Any

import pytest

from deploy.supervisor.state import read_state
from tests.e2e.broker_platform import BROKER_OPTIONS, BrokerPlatform
from tests.e2e.operator_actions import query, wait_for

pytestmark = pytest.mark.timeout(900)

BRACKET = """
import sys
from configs.command_signing import command_signer
from configs.settings import load_settings
from sinks.commands import new_command, send
kafka = load_settings().kafka
price = float(sys.argv[1])
terms = {"symbol": "TSLA", "side": "BUY", "quantity": "3", "order_type": "MARKET"}
exits = {"take_profit_price": f"{price * 1.5:.2f}", "stop_loss_price": f"{price * 0.8:.2f}"}
command = new_command("SUBMIT_ORDER", actor="test", reason="test", arguments={**terms, **exits})
send(kafka.cluster, command, prefix=kafka.topic_prefix, signer=command_signer("command-line"))
print(command.command_id)
"""


def post(platform: BrokerPlatform, path: str, body: dict[str, Any]) -> None:
    """Send a request to the local broker, as another client of the account does."""
    headers = {"Content-Type": "application/json", "APCA-API-KEY-ID": "local", "APCA-API-SECRET-KEY": "local"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{platform.broker_port}{path}", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        assert response.status == 200


def position_at_broker(platform: BrokerPlatform, symbol: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{platform.broker_port}/control/state", timeout=60) as response:
        positions: dict[str, str] = json.load(response)["positions"]
    return positions.get(symbol, "0")


def has_open_sale(platform: BrokerPlatform, symbol: str) -> bool:
    open_orders = platform.open_orders()
    return any(
        order["symbol"] == symbol and order["side"] == "sell" and order["client_order_id"] in open_orders
        for order in platform.orders()
    )


@pytest.fixture(scope="module")
def platform(broker_platform: BrokerPlatform) -> BrokerPlatform:
    return broker_platform


def test_a_trade_by_hand_at_the_broker_halts_until_it_is_accepted(platform: BrokerPlatform) -> None:
    platform.rest_order()
    order = {"symbol": "MSFT", "qty": "5", "side": "buy", "type": "market", "time_in_force": "day"}
    post(platform, "/v2/orders", {**order, "client_order_id": "by-hand"})
    wait_for(lambda: position_at_broker(platform, "MSFT") == "5", "the order by hand is filled")
    wait_for(lambda: not platform.is_reconciled(), "the gateway notices the difference")
    report = platform.run_json("reconcile", "show", status=1)
    [difference] = report["positions"]
    assert (difference["symbol"], difference["platform_quantity"], difference["broker_quantity"]) == ("MSFT", "0", "5")
    assert "needs --reason TEXT" in platform.run_error("reconcile", "accept", "MSFT")

    platform.run("reconcile", "accept", "MSFT", "--reason", "bought by hand", "--timeout", "60")
    wait_for(platform.is_reconciled, "the accepted books agree")
    accepted = "SELECT quantity FROM positions WHERE symbol = 'MSFT'"
    wait_for(lambda: query(platform, accepted) == [(5,)], "the accepted shares are in the positions")
    recorded = "SELECT reason FROM commands WHERE kind = 'ACCEPT_POSITION'"
    wait_for(lambda: query(platform, recorded) == [("bought by hand",)], "the reason is stored")
    platform.rest_order()
    assert platform.verify()["agrees"]


def test_a_native_stop_closes_the_position_while_the_gateway_is_dead(platform: BrokerPlatform) -> None:
    [(price,)] = query(platform, "SELECT close FROM bars WHERE symbol = 'TSLA' ORDER BY seq DESC LIMIT 1")
    command_id = platform.run("exec", "api", "python", "-c", BRACKET, str(price)).strip()
    wait_for(lambda: position_at_broker(platform, "TSLA") == "3", "the entry is filled")
    exits = "SELECT 1 FROM order_intents WHERE kind = 'SUBMIT' AND stop_loss_price IS NOT NULL"
    wait_for(lambda: query(platform, exits), "the exits are sent")
    wait_for(lambda: has_open_sale(platform, "TSLA"), "the exits are at the broker")

    # Without the supervisor, nobody restarts the gateway.
    [gateway] = platform.pids("execution")
    state = read_state(platform.home)
    assert state is not None
    os.kill(state.supervisor_pid, signal.SIGKILL)
    os.kill(gateway, signal.SIGKILL)
    post(platform, "/control/price", {"symbol": "TSLA", "price": float(price) * 0.7})
    wait_for(lambda: position_at_broker(platform, "TSLA") == "0", "the stop at the broker closes the position")

    platform.run("start", *BROKER_OPTIONS)
    quantity = "SELECT quantity FROM positions WHERE symbol = 'TSLA'"
    wait_for(lambda: query(platform, quantity) == [(0,)], "the fill of the stop is booked")
    wait_for(platform.is_reconciled, "the books agree")
    fills = "SELECT count(*) FROM executions WHERE exec_type = 'TRADE' AND side = 'SELL' AND order_id LIKE %s"
    assert query(platform, fills, f"%{command_id.removeprefix('cmd-')}%") == [(1,)]
