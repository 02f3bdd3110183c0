"""The account of the local broker: lists with filters and pages, positions, assets, settings, clock and calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
import requests
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetClass, OrderSide, QueryOrderStatus
from alpaca.trading.requests import ClosePositionRequest, GetAssetsRequest, GetCalendarRequest, GetOrdersRequest

from dataflows.broker.alpaca_api import AlpacaApi
from deploy.alpaca_server import AlpacaServer, market_hours
from tests.unit.alpaca_broker import client
from tests.unit.alpaca_requests import (
    COIN,
    INVALID,
    NOT_FOUND,
    STOCK,
    UNPROCESSABLE,
    coin,
    group,
    hold,
    limit,
    price,
    refusal,
    request,
    submit,
    terms,
)

HEADERS = {"APCA-API-KEY-ID": "local", "APCA-API-SECRET-KEY": "local"}  # pragma: allowlist secret


def test_orders_are_filtered_by_status_symbol_side_and_time_and_limited(
    server: AlpacaServer, api: TradingClient
) -> None:
    trading = client(server)
    names = ["a", "b", "c", "d"]
    orders = [terms(), limit("90"), limit("110", side="sell", symbol="MSFT"), coin(type="limit", limit_price="90")]
    times = [
        submit(api, order | {"client_order_id": name})["created_at"] for name, order in zip(names, orders, strict=True)
    ]
    price(server, 100)

    def listed(**filters: Any) -> str:
        found: Any = trading.get_orders(GetOrdersRequest(**filters))
        return "".join(order.client_order_id for order in found)

    everything = QueryOrderStatus.ALL
    assert listed() == "dcb", "open orders, newest first"
    assert listed(status=QueryOrderStatus.CLOSED) == "a"
    assert listed(status=everything, direction="asc", limit=3) == "abc"
    assert listed(status=everything, symbols=["MSFT", "BTC/USD"]) == "dc"
    assert listed(status=everything, symbols=["BTCUSD"]) == "d"
    assert listed(status=everything, side=OrderSide.SELL) == "c"
    rows = request(api, "GET", "/orders", {"status": "all", "after": times[1], "until": times[2]})
    assert [row["client_order_id"] for row in rows] == ["c"], "after is exclusive, until is not"


def test_activities_come_in_pages_by_type_category_and_date(server: AlpacaServer, api: TradingClient) -> None:
    for number in range(5):
        submit(api, terms(qty=str(number + 1)))
        price(server, 100)
    server.broker.book.move_cash("CSD", server.broker.book.cash / 10, "wire")

    def listed(path: str = "/account/activities", **query: Any) -> list[str]:
        rows = request(api, "GET", path, query)
        return [row.get("qty") or row["activity_type"] for row in rows]

    day = request(api, "GET", "/account/activities")[0]["transaction_time"][:10]
    everything = ["5", "4", "3", "2", "1", "CSD"]
    assert listed() == everything
    assert listed(direction="asc", date=day) == everything[::-1]
    assert listed(date="2020-01-02") == []
    assert listed("/account/activities/FILL") == everything[:5] == listed(category="trade_activity")
    assert listed(activity_types="CSD,CSW") == ["CSD"] == listed(category="non_trade_activity")
    pages, token = [], ""
    while page := request(api, "GET", "/account/activities", {"page_size": 2, "page_token": token}):
        pages.append([row.get("qty") or row["activity_type"] for row in page])
        token = page[-1]["id"]
    assert pages == [["5", "4"], ["3", "2"], ["1", "CSD"]]
    found = refusal(api, "GET", "/account/activities", {"category": "trade_activity", "activity_types": "FILL"})
    assert found[1] == UNPROCESSABLE


def test_positions_of_crypto_are_named_without_the_slash_and_the_gateway_adds_it(
    server: AlpacaServer, api: TradingClient
) -> None:
    submit(api, coin(qty="0.5"))
    price(server, 100, COIN)
    [position] = request(api, "GET", "/positions")
    assert (position["symbol"], position["asset_class"], position["exchange"]) == ("BTCUSD", "crypto", "CRYPTO")
    assert request(api, "GET", "/positions/BTCUSD")["qty"] == "0.5"
    snapshot = AlpacaApi("local", "local", paper=True, url=server.url, timeout_s=60).account_snapshot()
    assert (snapshot.positions, snapshot.average_prices) == ({COIN: "0.5"}, {COIN: "100"})


def test_a_position_is_closed_in_full_in_part_and_with_all_others(server: AlpacaServer, api: TradingClient) -> None:
    hold(server, 10)
    hold(server, -4, "MSFT")
    trading = client(server)
    order: Any = trading.close_position(STOCK, ClosePositionRequest(percentage="30"))
    assert (order.side, order.qty, order.type) == ("sell", "3", "market")
    price(server, 100)
    submit(api, limit("120", side="sell", qty="7"))
    found = refusal(api, "DELETE", f"/positions/{STOCK}")
    assert found[2] == "insufficient qty available for order (requested: 7, available: 0)"
    assert request(api, "GET", f"/positions/{STOCK}")["qty_available"] == "0"
    closed: Any = trading.close_all_positions(cancel_orders=True)
    assert [(one.symbol, one.status) for one in closed] == [(STOCK, 200), ("MSFT", 200)]
    price(server, 100)
    price(server, 100, "MSFT")
    assert trading.get_all_positions() == []
    assert refusal(api, "GET", f"/positions/{STOCK}")[:3] == (404, NOT_FOUND, "position does not exist")


def test_all_orders_are_canceled_at_once(server: AlpacaServer, api: TradingClient) -> None:
    submit(api, group("bracket", "110", "90"))
    submit(api, limit("90"))
    results: Any = client(server).cancel_orders()
    assert [one.status for one in results] == [200] * 4
    assert {order.status for order in server.broker.book.orders.values()} == {"canceled"}


def test_the_account_shows_its_settings_and_its_money(server: AlpacaServer) -> None:
    hold(server, -10)
    trading = client(server)
    configuration: Any = trading.get_account_configurations()
    configuration.suspend_trade, configuration.max_margin_multiplier = True, "1"
    changed: Any = trading.set_account_configurations(configuration)
    account: Any = trading.get_account()
    assert changed.suspend_trade and account.trade_suspended_by_user and account.multiplier == "1"
    assert (account.short_market_value, account.long_market_value, account.equity) == ("-1000", "0", "999000")
    configuration.suspend_trade, configuration.max_margin_multiplier = False, "4"
    trading.set_account_configurations(configuration)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pdt_check": "never"}, "invalid pdt_check"),
        ({"suspend_trade": "yes"}, "invalid suspend_trade"),
        ({"max_margin_multiplier": ["2"], "no_shorting": True}, "invalid max_margin_multiplier"),
    ],
)
def test_invalid_account_settings_change_nothing(api: TradingClient, changes: dict[str, Any], message: str) -> None:
    before = request(api, "GET", "/account/configurations")
    assert refusal(api, "PATCH", "/account/configurations", changes)[:3] == (422, INVALID, message)
    assert request(api, "GET", "/account/configurations") == before


def test_assets_have_their_attributes_and_increments(server: AlpacaServer) -> None:
    trading = client(server)
    coins: Any = trading.get_all_assets(GetAssetsRequest(asset_class=AssetClass.CRYPTO))
    shares: Any = trading.get_all_assets(GetAssetsRequest(asset_class=AssetClass.US_EQUITY))
    assert [one.symbol for one in coins] == [COIN] and [one.symbol for one in shares] == [STOCK, "MSFT"]
    pair, share = coins[0], shares[0]
    assert (pair.marginable, pair.shortable, pair.fractionable) == (False, False, True)
    assert (pair.min_order_size, pair.min_trade_increment, pair.price_increment) == (0.01, 1e-9, 1e-9)
    assert share.tradable and share.marginable and share.shortable and share.fractionable
    by_id: Any = trading.get_asset(share.id)
    assert by_id.symbol == STOCK


def test_the_calendar_has_holidays_and_early_closes(server: AlpacaServer) -> None:
    days: Any = client(server).get_calendar(GetCalendarRequest(start=date(2026, 11, 25), end=date(2026, 11, 30)))
    assert [(day.date.day, f"{day.open:%H:%M}", f"{day.close:%H:%M}") for day in days] == [
        (25, "09:30", "16:00"),
        (27, "09:30", "13:00"),
        (30, "09:30", "16:00"),
    ]


@pytest.mark.parametrize(
    ("now", "is_open", "next_open", "next_close"),
    [
        ("2026-11-27T15:00", True, "2026-11-30T09:30:00-05:00", "2026-11-27T13:00:00-05:00"),
        ("2026-11-27T15:00", False, "2026-11-30T09:30:00-05:00", "2026-11-30T16:00:00-05:00"),
        ("2026-11-26T15:00", False, "2026-11-27T09:30:00-05:00", "2026-11-27T13:00:00-05:00"),
    ],
)
def test_the_clock_names_the_next_open_and_close(now: str, is_open: bool, next_open: str, next_close: str) -> None:
    clock = market_hours.clock(datetime.fromisoformat(now).replace(tzinfo=UTC), is_open=is_open)
    assert (clock["is_open"], clock["next_open"], clock["next_close"]) == (is_open, next_open, next_close)


def test_the_clock_is_open_in_the_regular_session(server: AlpacaServer) -> None:
    clock: Any = client(server).get_clock()
    assert clock.is_open and clock.timestamp < clock.next_close < clock.next_open


@pytest.mark.parametrize(
    ("method", "path", "query", "found"),
    [
        ("GET", "/orders", {"status": "some"}, (422, INVALID, "invalid status")),
        ("GET", "/orders", {"limit": "-1"}, (422, INVALID, "invalid limit")),
        ("GET", "/orders", {"limit": "many"}, (422, INVALID, "invalid limit")),
        ("GET", "/orders", {"after": "yesterday"}, (422, INVALID, "invalid after")),
        ("GET", "/orders", {"until": "2026-13-01"}, (422, INVALID, "invalid until")),
        ("GET", "/orders", {"direction": "up"}, (422, INVALID, "invalid direction")),
        ("GET", "/orders", {"nested": "maybe"}, (422, INVALID, "invalid nested")),
        ("GET", "/orders/none", None, (404, NOT_FOUND, "order not found for none")),
        ("DELETE", "/orders/none", None, (404, NOT_FOUND, "order not found for none")),
        ("GET", "/orders:by_client_order_id", {}, (404, NOT_FOUND, "order not found for ")),
        ("GET", "/account/activities", {"page_size": "x"}, (422, INVALID, "invalid page_size")),
        ("GET", "/account/activities", {"date": "x"}, (422, INVALID, "invalid date")),
        ("GET", "/calendar", {"start": "x"}, (422, INVALID, "invalid start")),
        ("GET", "/assets/ZZZZ", None, (404, NOT_FOUND, "asset not found for ZZZZ")),
        ("DELETE", "/positions/ZZZZ", None, (404, NOT_FOUND, "position does not exist")),
        ("DELETE", f"/positions/{STOCK}", None, (404, NOT_FOUND, "position does not exist")),
        ("GET", "/watchlists", None, (404, NOT_FOUND, "endpoint not found.")),
        ("PUT", "/orders", None, (405, 40510000, "endpoint not found.")),
    ],
)
def test_a_bad_request_gets_alpacas_error_response(
    api: TradingClient, method: str, path: str, query: Any, found: tuple[int, int, str]
) -> None:
    assert refusal(api, method, path, query)[:3] == found


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000, b"", b'{"qty": ' + b"9" * 5000 + b"}"]
)
@pytest.mark.parametrize("path", ["/v2/orders", "/v2/account/configurations", "/control/cash"])
def test_a_malformed_body_is_a_bad_request(server: AlpacaServer, path: str, body: bytes) -> None:
    method = "PATCH" if path.endswith("configurations") else "POST"
    response = requests.request(method, server.url + path, data=body, headers=HEADERS, timeout=60)
    assert response.status_code in (400, 422) and response.json()["message"]


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("price", {"symbol": STOCK, "price": "NaN"}),
        ("price", {"symbol": STOCK, "price": 0}),
        ("price", {"symbol": "ZZZZ", "price": 5}),
        ("bar", {"symbol": STOCK, "open_ns": "x", "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}),
        ("bar", {"symbol": STOCK}),
        ("news", {"headline": "\ud800", "symbols": []}),
        ("session", {"session": "lunch"}),
        ("asset", {"symbol": STOCK, "shortable": "no"}),
        ("asset", {"symbol": STOCK, "colour": True}),
        ("fault", {"place": "submit", "kind": "explode"}),
        ("fault", {"place": "submit", "kind": "status", "status": "many"}),
        ("fill-max", {"quantity": "-1"}),
        ("cash", {"amount": "Infinity"}),
        ("cash", {"amount": "5", "description": ["wire"]}),
        ("dance", {}),
    ],
)
def test_an_invalid_control_changes_nothing(server: AlpacaServer, action: str, body: dict[str, Any]) -> None:
    def state() -> tuple[Any, ...]:
        book = server.broker.book
        return (dict(book.prices), book.session, book.cash, book.fill_quantity_max, repr(book.assets))

    before = state()
    response = requests.post(f"{server.url}/control/{action}", json=body, timeout=60)
    assert response.status_code in (404, 422) and response.json()["message"]
    assert state() == before


@pytest.mark.parametrize(
    "start", ["0001-01-01", "9999-12-31", "1969-12-31T23:59:59.5Z", "x", "2026-01-01T00:00:00+00:00"]
)
def test_bars_of_any_time_are_a_list_or_a_bad_request(server: AlpacaServer, start: str) -> None:
    query = {"symbols": f"{STOCK},ZZZZ", "start": start, "limit": "5"}
    response = requests.get(f"{server.url}/v2/stocks/bars", params=query, headers=HEADERS, timeout=60)
    assert response.status_code == (422 if start == "x" else 200)
