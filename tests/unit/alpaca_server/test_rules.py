"""The local broker accepts and rejects orders by Alpaca's rules. Alpaca's own client sends the requests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from alpaca.trading.client import TradingClient

from deploy.alpaca_server import AlpacaServer
from deploy.alpaca_server.order_book import CLOSED, EXTENDED, REGULAR
from tests.unit.alpaca_order_cases import ACCEPTED, REJECTED
from tests.unit.alpaca_requests import (
    DAY_TRADING,
    FORBIDDEN,
    INVALID,
    STOCK,
    UNPROCESSABLE,
    group,
    hold,
    limit,
    price,
    refusal,
    request,
    submit,
    terms,
)


@pytest.mark.parametrize("order", ACCEPTED.values(), ids=ACCEPTED)
def test_an_order_within_the_rules_is_accepted(api: TradingClient, order: dict[str, Any]) -> None:
    assert submit(api, order)["status"] == "new"


@pytest.mark.parametrize(("order", "status", "code", "message"), REJECTED.values(), ids=REJECTED)
def test_an_order_against_a_rule_is_rejected_as_alpaca_does(
    server: AlpacaServer, api: TradingClient, order: dict[str, Any], status: int, code: int, message: str
) -> None:
    assert refusal(api, "POST", "/orders", order)[:3] == (status, code, message)
    assert server.broker.book.orders == {}


WASH_TRADES = [
    (limit("99"), terms(side="sell"), "limit"),
    (limit("99"), limit("99", side="sell"), "limit"),
    (limit("99"), terms(side="sell", type="stop", stop_price="95"), "limit"),
    (limit("99"), terms(side="sell", type="stop_limit", stop_price="95", limit_price="95"), "limit"),
    (terms(), limit("110", side="sell"), "market/stop"),
    (terms(type="stop", stop_price="110"), limit("120", side="sell"), "market/stop"),
]


@pytest.mark.parametrize(("first", "second", "kind"), WASH_TRADES)
def test_orders_that_could_trade_against_each_other_are_rejected(
    server: AlpacaServer, api: TradingClient, first: dict[str, Any], second: dict[str, Any], kind: str
) -> None:
    existing = submit(api, first)
    status, code, message, body = refusal(api, "POST", "/orders", second)
    assert (status, code, message) == (403, FORBIDDEN, "potential wash trade detected. use complex orders")
    assert body["existing_order_id"] == existing["id"]
    assert body["reject_reason"] == f"opposite side {kind} order exists"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (limit("99"), limit("99.01", side="sell")),
        (limit("99"), terms(side="sell", type="stop_limit", stop_price="99.99", limit_price="99.01")),
        (limit("99"), terms(side="sell", type="trailing_stop", trail_price="2")),
        (limit("99"), group("oco", "110", "90", side="sell", type="limit")),
        (limit("99"), terms(symbol="MSFT", side="sell")),
    ],
)
def test_orders_that_cannot_meet_are_no_wash_trade(
    server: AlpacaServer, api: TradingClient, first: dict[str, Any], second: dict[str, Any]
) -> None:
    hold(server, 10)
    submit(api, first)
    assert submit(api, second)["status"] == "new"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (limit("99"), limit("101", side="sell"), "cannot open a short sell while a long buy order is open"),
        (
            limit("99"),
            terms(side="sell", type="trailing_stop", trail_price="2"),
            "cannot open a short sell while a long buy order is open",
        ),
        (
            limit("101", side="sell"),
            group("bracket", "110", "90"),
            "cannot open a long buy while a short sell order is open",
        ),
    ],
)
def test_no_order_opens_the_opposite_of_a_position_that_another_one_opens(
    api: TradingClient, first: dict[str, Any], second: dict[str, Any], message: str
) -> None:
    submit(api, first)
    assert refusal(api, "POST", "/orders", second)[:3] == (403, FORBIDDEN, message)


def test_buying_power_and_available_quantity_are_in_the_rejection(server: AlpacaServer, api: TradingClient) -> None:
    status, code, message, body = refusal(api, "POST", "/orders", terms(qty="20001"))
    assert (status, code, message) == (403, FORBIDDEN, "insufficient buying power")
    assert (body["buying_power"], body["cost_basis"]) == ("2000000", "2000100")
    hold(server, 10)
    submit(api, limit("110", side="sell", qty="7"))
    status, code, message, body = refusal(api, "POST", "/orders", terms(side="sell", qty="4"))
    assert message == "insufficient qty available for order (requested: 4, available: 3)"
    assert (status, code, body["existing_qty"], body["held_for_orders"]) == (403, FORBIDDEN, "10", "7")


def test_a_duplicate_client_order_id_is_rejected(api: TradingClient) -> None:
    submit(api, terms(client_order_id="same-1"))
    found = refusal(api, "POST", "/orders", terms(client_order_id="same-1"))
    assert found[:3] == (422, INVALID, "client_order_id must be unique")


def day_trade(server: AlpacaServer, api: TradingClient) -> None:
    for side in ("buy", "sell"):
        submit(api, terms(side=side))
        price(server, 100)


@pytest.mark.parametrize(
    ("cash", "check", "is_rejected"),
    [(24_000, "both", True), (24_000, "exit", True), (24_000, "entry", False), (26_000, "both", False)],
)
def test_the_fourth_day_trade_below_25000_is_rejected(
    server: AlpacaServer, api: TradingClient, cash: int, check: str, is_rejected: bool
) -> None:
    server.broker.book.cash = Decimal(cash)
    request(api, "PATCH", "/account/configurations", {"pdt_check": check})
    for _ in range(3):
        day_trade(server, api)
    submit(api, terms(qty="2"))
    price(server, 100)
    assert request(api, "GET", "/account")["daytrade_count"] == 3
    if is_rejected:
        found = refusal(api, "POST", "/orders", terms(side="sell"))
        assert found[:3] == (403, DAY_TRADING, "trade denied due to pattern day trading protection")
    else:
        submit(api, terms(side="sell"))
        price(server, 100)
        assert request(api, "GET", "/account")["daytrade_count"] == 4


def test_one_purchase_sold_in_parts_is_one_day_trade_and_overnight_units_are_none(
    server: AlpacaServer, api: TradingClient
) -> None:
    submit(api, terms(qty="3"))
    price(server, 100)
    for _ in range(3):
        submit(api, terms(side="sell"))
        price(server, 100)
    hold(server, 5)
    submit(api, terms(side="sell", qty="5"))
    price(server, 100)
    assert request(api, "GET", "/account")["daytrade_count"] == 1


def test_without_the_rule_day_trades_are_not_limited(server: AlpacaServer, api: TradingClient) -> None:
    server.broker.book.cash, server.broker.book.day_trades.is_enabled = Decimal(24_000), False
    try:
        for _ in range(5):
            day_trade(server, api)
    finally:
        server.broker.book.day_trades.is_enabled = True
    assert request(api, "GET", "/account")["daytrade_count"] == 5


@pytest.mark.parametrize(
    ("settings", "order", "found"),
    [
        ({"suspend_trade": True}, terms(), (403, FORBIDDEN, "new orders are rejected by user request")),
        ({"no_shorting": True}, terms(side="sell"), (403, FORBIDDEN, "account is not allowed to short")),
        (
            {"fractional_trading": False},
            terms(qty="0.5"),
            (403, FORBIDDEN, "account is not allowed to trade fractional shares"),
        ),
        ({"max_margin_multiplier": "1"}, terms(qty="10001"), (403, FORBIDDEN, "insufficient buying power")),
    ],
)
def test_account_settings_are_obeyed(
    api: TradingClient, settings: dict[str, Any], order: dict[str, Any], found: tuple[int, int, str]
) -> None:
    before = request(api, "GET", "/account/configurations")
    assert request(api, "PATCH", "/account/configurations", settings) == before | settings
    assert refusal(api, "POST", "/orders", order)[:3] == found
    assert request(api, "PATCH", "/account/configurations", before) == before


@pytest.mark.parametrize(
    ("flags", "order", "found"),
    [
        ({"tradable": False}, terms(), (422, UNPROCESSABLE, 'asset "AAPL" is not tradable')),
        ({"fractionable": False}, terms(qty="0.5"), (403, FORBIDDEN, 'asset "AAPL" is not fractionable')),
        ({"shortable": False}, terms(side="sell"), (422, UNPROCESSABLE, 'asset "AAPL" cannot be sold short')),
    ],
)
def test_asset_attributes_are_obeyed(
    server: AlpacaServer, api: TradingClient, flags: dict[str, bool], order: dict[str, Any], found: tuple[int, int, str]
) -> None:
    server.broker.book.assets[STOCK].set_flags(flags)
    assert flags.items() <= request(api, "GET", f"/assets/{STOCK}").items()
    assert refusal(api, "POST", "/orders", order)[:3] == found


def test_short_sales_need_2000_usd(server: AlpacaServer, api: TradingClient) -> None:
    server.broker.book.cash = Decimal(1_999)
    assert refusal(api, "POST", "/orders", terms(side="sell"))[2] == "account is not allowed to short"


def test_day_orders_end_with_their_session_and_auction_orders_trade_in_it(
    server: AlpacaServer, api: TradingClient
) -> None:
    book = server.broker.book
    submit(api, limit("99"))
    submit(api, limit("98", extended_hours=True))
    submit(api, limit("97", time_in_force="gtc"))
    submit(api, limit("105", time_in_force="cls"))
    submit(api, limit("95", time_in_force="cls"))
    seen = []
    for session in (EXTENDED, CLOSED):
        server.run_coroutine(set_session(book, session))
        seen.append([order.status for order in book.orders.values()])
    assert seen[0] == ["expired", "new", "new", "filled", "expired"]
    assert seen[1] == ["expired", "expired", "new", "filled", "expired"]
    submit(api, terms(symbol="MSFT", time_in_force="opg"))
    submit(api, terms(symbol="MSFT"))
    server.run_coroutine(set_session(book, REGULAR))
    assert [order.status for order in book.orders.values()][5:] == ["filled", "new"]


async def set_session(book: Any, session: str) -> None:
    book.set_session(session)


def test_a_notional_order_buys_what_its_money_pays_at_the_price_of_the_fill(
    server: AlpacaServer, api: TradingClient
) -> None:
    order = submit(api, terms(qty=None, notional="500"))
    assert (order["qty"], order["notional"]) == (None, "500")
    price(server, 160)
    order = request(api, "GET", f"/orders/{order['id']}")
    assert (order["status"], order["filled_qty"], order["filled_avg_price"]) == ("filled", "3.125", "160")
    assert server.broker.book.cash == 1_000_000 - 500


def test_a_fill_or_kill_order_is_filled_completely_or_not_at_all(server: AlpacaServer, api: TradingClient) -> None:
    server.broker.book.fill_quantity_max = Decimal(4)
    for quantity in ("5", "4"):
        submit(api, terms(qty=quantity, time_in_force="fok"))
        price(server, 100)
    submit(api, terms(qty="5", time_in_force="ioc"))
    price(server, 100)
    assert [(order.status, order.filled) for order in server.broker.book.orders.values()] == [
        ("canceled", Decimal(0)),
        ("filled", Decimal(4)),
        ("canceled", Decimal(4)),
    ]


def test_a_sale_keeps_the_average_entry_price_of_the_rest(server: AlpacaServer, api: TradingClient) -> None:
    submit(api, terms(qty="10"))
    price(server, 100)
    submit(api, terms(qty="4", side="sell"))
    price(server, 150)
    [position] = request(api, "GET", "/positions")
    assert (position["qty"], position["avg_entry_price"], position["unrealized_pl"]) == ("6", "100", "300")


def test_a_position_set_by_hand_has_the_current_price_as_its_cost(server: AlpacaServer, api: TradingClient) -> None:
    server.broker.book.positions[STOCK] = Decimal(-3)
    [position] = request(api, "GET", "/positions")
    assert (position["side"], position["qty"], position["avg_entry_price"]) == ("short", "-3", "100")
    assert (position["cost_basis"], position["unrealized_pl"]) == ("-300", "0")
