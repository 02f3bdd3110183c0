"""Close, flatten all and cancel all in the API: the plan, its execution, and the result at the simulated venue."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.roles import Role
from tests.integration.api_users import bearer, token_of
from tests.integration.trading_api import ORDER_REQUEST, Headers, TradingApi, order_of


def plan(api: TradingApi, headers: Headers | None = None, **request: str) -> Any:
    response = api.client.post("/api/v1/exits/plan", json=request, headers=headers or api.trader)
    assert response.status_code == 200, response.text
    return response.json()


def confirm(api: TradingApi, planned: Any, headers: Headers | None = None) -> Any:
    body = {
        "action": planned["action"],
        "cancels": [one["order_id"] for one in planned["cancels"]],
        "orders": [
            {"symbol": one["symbol"], "side": one["side"], "quantity": one["quantity_text"]}
            for one in planned["orders"]
        ],
    }
    response = api.client.post("/api/v1/exits", json=body, headers=headers or api.trader)
    assert response.status_code == 202, response.text
    return response.json()


def submit(api: TradingApi, **changes: Any) -> str:
    response = api.client.post("/api/v1/orders", json={**ORDER_REQUEST, **changes}, headers=api.trader)
    assert response.status_code == 202, response.text
    return str(response.json()["order_id"])


def positions(client: TestClient, headers: Headers) -> dict[str, float]:
    rows = client.get("/api/v1/portfolio/positions", headers=headers).json()
    return {row["symbol"]: row["quantity"] for row in rows if row["quantity"]}


@pytest.fixture
def holding(trading_api: TradingApi) -> str:
    """Hold 100 AAPL at 150, with a resting limit order to buy 7 more at 140. Return the id of the resting order."""
    trading_api.platform.run_minute()
    submit(trading_api)
    resting = submit(trading_api, quantity=7, order_type="LIMIT", limit_price=140, time_in_force="GTC")
    trading_api.platform.run_minute(commands=len(trading_api.platform.commands) + 2)
    trading_api.platform.run_minute()
    assert positions(trading_api.client, trading_api.trader) == {"AAPL": 100}
    return resting


def test_flatten_all_does_what_its_plan_lists(trading_api: TradingApi, holding: str) -> None:
    platform, before = trading_api.platform, len(trading_api.platform.commands)
    # Risk has not processed this order. A cancel that follows it in the log finds it.
    undecided = submit(trading_api, quantity=3, order_type="LIMIT", limit_price=139, time_in_force="GTC")
    planned = plan(trading_api, action="FLATTEN_ALL")
    [close] = planned["orders"]
    assert (
        close.items()
        >= {
            "symbol": "AAPL",
            "side": "SELL",
            "quantity": 100,
            "quantity_text": "100",
            "reference_price": 150,
            "notional": 15000,
            "approved": True,
            "message": None,
        }.items()
    )
    assert {one["order_id"]: (one["remaining"], one["notional"]) for one in planned["cancels"]} == {
        holding: (7, 980),
        undecided: (3, 417),
    }
    assert (planned["order_notional"], planned["cancel_notional"], planned["left_out"]) == (15000, 1397, 0)

    receipt = confirm(trading_api, planned)
    assert (sorted(receipt["cancels"]), receipt["already_closed"]) == (sorted([holding, undecided]), {})
    platform.run_minute(commands=before + 4)  # the order, two cancels and the close: the plan itself sent nothing
    platform.run_minute()
    assert positions(trading_api.client, trading_api.trader) == {}
    for order_id in (holding, undecided):
        assert order_of(trading_api.client, trading_api.trader, order_id)["status"] == "CANCELLED"
    [order_id] = receipt["orders"]
    closed = order_of(trading_api.client, trading_api.trader, order_id)
    assert (closed["status"], closed["reduce_only"], closed["order_type"]) == ("FILLED", True, "MARKET")
    empty = plan(trading_api, action="FLATTEN_ALL")
    assert (empty["orders"], empty["cancels"]) == ([], [])


def test_close_is_for_one_symbol_and_a_retry_sends_no_order_twice(trading_api: TradingApi, holding: str) -> None:
    platform, before = trading_api.platform, len(trading_api.platform.commands)
    assert (
        trading_api.client.post("/api/v1/exits/plan", json={"action": "CLOSE"}, headers=trading_api.trader)
        .json()["detail"]
        .startswith("CLOSE requires a symbol")
    )
    other = plan(trading_api, action="CLOSE", symbol="MSFT")
    assert (other["orders"], other["cancels"]) == ([], [])
    planned = plan(trading_api, action="CLOSE", symbol="AAPL")
    assert [one["order_id"] for one in planned["cancels"]] == [holding]
    headers = {**trading_api.trader, "Idempotency-Key": "close-1"}
    first, second = confirm(trading_api, planned, headers), confirm(trading_api, planned, headers)
    assert first["orders"] == second["orders"]
    platform.run_minute(commands=before + 3)  # one order, and the cancel twice, which has no effect the second time
    platform.run_minute()
    assert positions(trading_api.client, trading_api.trader) == {}
    unknown = {"action": "CANCEL_ALL", "cancels": ["ord-nothing", holding]}
    assert trading_api.client.post("/api/v1/exits", json=unknown, headers=trading_api.trader).status_code == 404
    late = confirm(trading_api, {**planned, "orders": []})
    assert (late["cancels"], late["already_closed"]) == ([], {holding: "CANCELLED"})


def test_the_plan_forecasts_the_rejection_of_a_halt_and_cancel_all_keeps_positions(
    trading_api: TradingApi, holding: str
) -> None:
    platform, client = trading_api.platform, trading_api.client
    cancels = plan(trading_api, trading_api.risk, action="CANCEL_ALL")
    assert (cancels["orders"], [one["order_id"] for one in cancels["cancels"]]) == ([], [holding])
    confirm(trading_api, cancels, trading_api.risk)
    platform.run_minute(commands=len(platform.commands) + 1)
    platform.run_minute()
    assert order_of(client, trading_api.trader, holding)["status"] == "CANCELLED"
    assert positions(client, trading_api.trader) == {"AAPL": 100}

    path = "/api/v1/risk/circuit-breaker"
    client.post(path, json={"action": "halt", "reason": "a drill"}, headers=trading_api.risk)
    platform.run_minute(commands=len(platform.commands) + 1)
    [close] = plan(trading_api, action="FLATTEN_ALL")["orders"]
    assert close["approved"] is False and "kill_switch" in close["message"]
    client.post(path, json={"action": "release", "reason": "over"}, headers=trading_api.risk)
    platform.run_minute(commands=len(platform.commands) + 1)
    assert plan(trading_api, action="FLATTEN_ALL")["orders"][0]["approved"]


def test_only_traders_send_closing_orders_and_viewers_do_nothing(trading_api: TradingApi) -> None:
    viewer = bearer(token_of(trading_api.client.app, Role.VIEWER))  # type: ignore[arg-type]
    order = {"symbol": "AAPL", "side": "SELL", "quantity": "1"}
    for headers, path, body in (
        (viewer, "/plan", {"action": "CANCEL_ALL"}),
        (viewer, "", {"action": "CANCEL_ALL", "cancels": ["ord-1"]}),
        (trading_api.risk, "/plan", {"action": "FLATTEN_ALL"}),
        (trading_api.risk, "", {"action": "CANCEL_ALL", "orders": [order]}),
    ):
        response = trading_api.client.post(f"/api/v1/exits{path}", json=body, headers=headers)
        assert response.status_code == 403, (path, body, response.text)
