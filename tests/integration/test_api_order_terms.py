"""Terms of manual orders in the API: invalid and senseless ones are rejected before they are sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.builders import bar
from tests.integration.trading_api import MINUTE, ORDER_REQUEST, T0, TradingApi, TradingLoopRunner, order_of


@pytest.fixture
def client(trading_api: TradingApi) -> TestClient:
    return trading_api.client


@pytest.fixture
def platform(trading_api: TradingApi) -> TradingLoopRunner:
    return trading_api.platform


@pytest.fixture
def trader(trading_api: TradingApi) -> dict[str, str]:
    return trading_api.trader


@pytest.mark.parametrize(
    ("change", "expected_text"),
    [
        ({"symbol": "A B"}, "symbol"),
        ({"symbol": "A\0"}, "symbol"),
        ({"symbol": "\ud800"}, "symbol"),
        ({"side": "HOLD"}, "side"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": -1}, "quantity"),
        ({"quantity": "NaN"}, "quantity"),
        ({"quantity": 1e300}, "quantity"),
        ({"quantity": "0.0000000001"}, "quantity"),
        ({"order_type": "LIMIT"}, "limit_price"),
        ({"limit_price": 5}, "limit_price"),
        ({"order_type": "ICEBERG"}, "order_type"),
        ({"leverage": 7}, "leverage"),
    ],
)
def test_an_invalid_order_gets_one_error_sentence_and_sends_no_command(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str], change: dict[str, Any], expected_text: str
) -> None:
    body = json.dumps({**ORDER_REQUEST, **change})
    headers = {**trader, "Content-Type": "application/json"}
    for path in ("/api/v1/orders", "/api/v1/risk/validate"):
        response = client.post(path, content=body, headers=headers)
        assert response.status_code == 422 and expected_text in response.json()["detail"], response.text
        assert "\n" not in response.json()["detail"]
    platform.commands_until(len(platform.commands))


def test_order_terms_are_reported_for_exits_replacements_and_refusals(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str]
) -> None:
    terms = {"order_type": "STOP_LIMIT", "stop_price": 190, "limit_price": 191, "time_in_force": "GTD"}
    terms |= {"expires_at": "2034-01-15T10:30:00Z", "group_id": "g1"}
    ticket = {**ORDER_REQUEST, **terms, "quantity": 2}

    def run_and_read_order(answer: dict[str, Any]) -> dict[str, Any]:
        platform.run_minute(commands=len(platform.commands) + 1)
        platform.run_minute()
        return order_of(client, trader, answer["order_id"])

    def replace_order(changes: dict[str, Any]) -> dict[str, Any]:
        response = client.patch(f"/api/v1/orders/{working['order_id']}", json=changes, headers=trader)
        assert response.status_code == 202, response.text
        return run_and_read_order(response.json())

    bracket = {**ticket, "take_profit_price": 199}
    working = run_and_read_order(client.post("/api/v1/orders", json=bracket, headers=trader).json())
    terms |= {"trail_amount": None, "trail_percent": None, "parent_id": "", "reduce_only": False}
    assert working.items() >= {**terms, "status": "ACCEPTED", "replaces": ""}.items()
    listed = client.get("/api/v1/orders?limit=9", headers=trader).json()["orders"]
    [leg] = [order for order in listed if order["parent_id"] == working["cause_id"]]
    assert leg["group_id"] != "" and leg.items() >= {"reduce_only": True, "limit_price": 199, "side": "SELL"}.items()
    refused = run_and_read_order(
        client.post("/api/v1/orders", json={**ticket, "quantity": 9000}, headers=trader).json()
    )
    assert refused.items() >= {**terms, "status": "REFUSED", "replaces": ""}.items()
    refused = replace_order({"quantity": 9000})
    assert refused.items() >= {**terms, "status": "REFUSED", "replaces": working["order_id"], "quantity": 9000}.items()
    replacement = replace_order({"stop_price": "189"})
    assert replacement.items() >= {**terms, "stop_price": 189, "replaces": working["order_id"]}.items()
    assert order_of(client, trader, working["order_id"])["status"] == "REPLACED"
    # The id of the replaced order names the order that lives.
    cancel = client.delete(f"/api/v1/orders/{working['order_id']}", headers=trader).json()
    assert cancel["order_id"] == replacement["order_id"]
    assert run_and_read_order(cancel)["status"] == "CANCELLED"
    late = client.delete(f"/api/v1/orders/{working['order_id']}", headers=trader)
    assert (late.status_code, late.json()["detail"]) == (
        409,
        f"Order {replacement['order_id']} is already CANCELLED.",
    )


SENSELESS_ORDERS: list[tuple[dict[str, Any], str]] = [
    ({"quantity": 0.5}, "lot_size: AAPL quantity 0.5 is not a multiple of lot size 1"),
    ({"quantity": "0.000000001"}, "lot_size: AAPL quantity 0.000000001 is not a multiple of lot size 1"),
    ({"order_type": "LIMIT", "limit_price": "149.995"}, "tick_size: AAPL limit price 149.995 is not a multiple"),
    (
        {"quantity": 10, "order_type": "LIMIT", "limit_price": 9000},
        "price_collar: AAPL limit price is 590,000 bps beyond the last price",
    ),
    (
        {"order_type": "STOP", "stop_price": 149},
        "price_collar: AAPL stop price 149 of a BUY order is on the wrong side",
    ),
    ({"take_profit_price": 149}, "exit_prices: AAPL take profit 149 of a BUY order must be above its entry price 150"),
    ({"stop_loss_price": 151}, "exit_prices: AAPL stop loss 151 of a BUY order must be below its entry price 150"),
]


@pytest.mark.parametrize(("changes", "detail"), SENSELESS_ORDERS, ids=lambda value: str(value)[:40])
def test_a_senseless_order_is_rejected_before_it_is_sent(
    changes: dict[str, Any], detail: str, client: TestClient, platform: TradingLoopRunner, trader: dict[str, str]
) -> None:
    platform.run_minute()
    response = client.post("/api/v1/orders", json={**ORDER_REQUEST, **changes}, headers=trader)
    assert response.status_code == 422 and response.json()["detail"].startswith(detail), response.text
    assert platform.consumer.poll(0.2) is None, "nothing was sent"
    forecast = client.post("/api/v1/risk/validate", json={**ORDER_REQUEST, **changes}, headers=trader).json()
    assert not forecast["approved"] and forecast["message"].startswith(detail)


def test_a_senseless_change_is_rejected_and_a_retry_returns_the_accepted_order(
    client: TestClient, platform: TradingLoopRunner, trader: dict[str, str]
) -> None:
    ticket = {**ORDER_REQUEST, "quantity": 3, "order_type": "STOP", "stop_price": 152, "time_in_force": "GTC"}
    with_key = {**trader, "Idempotency-Key": "stop-152"}
    receipt = client.post("/api/v1/orders", json=ticket, headers=with_key).json()
    platform.run_minute(commands=len(platform.commands) + 1)
    platform.run_minute()
    path = f"/api/v1/orders/{receipt['order_id']}"
    for changes, rule in (
        ({"quantity": 2.5}, "lot_size"),
        ({"stop_price": "152.001"}, "tick_size"),
        ({"stop_price": 149}, "price_collar"),
    ):
        response = client.patch(path, json=changes, headers=trader)
        assert response.status_code == 422 and response.json()["detail"].startswith(f"{rule}: "), response.text
    # The market has passed the stop: a new order like this is rejected, a retry of the first one is not.
    ts_ns = T0 + platform.minute * MINUTE + 1
    platform.writer.write([bar("AAPL", 10_000, ts_ns, 153.0, day=20240115)])
    assert client.post("/api/v1/orders", json=ticket, headers=trader).status_code == 422
    assert client.post("/api/v1/orders", json=ticket, headers=with_key).json() == receipt
    client.delete(path, headers=trader)
    platform.run_minute(commands=len(platform.commands) + 1)
    platform.run_minute()
    assert order_of(client, trader, receipt["order_id"])["status"] == "CANCELLED"
