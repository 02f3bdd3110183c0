"""Bracket, OCO and OTO orders, trailing stops and replaced orders work at the local broker as at Alpaca."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
)

from deploy.alpaca_server import AlpacaServer
from tests.unit.alpaca_broker import client
from tests.unit.alpaca_requests import (
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


def statuses(server: AlpacaServer) -> list[tuple[str, str]]:
    """Return type and status of every order, oldest first."""
    return [(order.type, order.status) for order in server.broker.book.orders.values()]


def bracket(server: AlpacaServer, **changes: Any) -> Any:
    """Submit a bracket with typed requests: buy 4, take profit at 110, stop loss at 90."""
    fields: dict[str, Any] = {"symbol": STOCK, "qty": 4, "side": OrderSide.BUY, "time_in_force": TimeInForce.GTC}
    exits = {"take_profit": TakeProfitRequest(limit_price=110), "stop_loss": StopLossRequest(stop_price=90)}
    order = MarketOrderRequest(**(fields | exits | {"order_class": OrderClass.BRACKET} | changes))
    return client(server).submit_order(order)


def test_the_exits_of_a_bracket_are_held_until_the_entry_is_completely_filled(server: AlpacaServer) -> None:
    entry = bracket(server)
    assert [(leg.type, leg.side, leg.status, leg.qty) for leg in entry.legs] == [
        ("limit", "sell", "held", "4"),
        ("stop", "sell", "held", "4"),
    ]
    server.broker.book.fill_quantity_max = Decimal(3)
    price(server, 112)
    assert statuses(server) == [("market", "partially_filled"), ("limit", "held"), ("stop", "held")]
    price(server, 112)
    assert statuses(server) == [("market", "filled"), ("limit", "new"), ("stop", "held")]
    assert server.broker.book.positions == {STOCK: 4}, "the exits meet the next price"


@pytest.mark.parametrize(
    ("exit_price", "filled", "canceled"), [(111.0, ("limit", "filled"), "stop"), (89.0, ("stop", "filled"), "limit")]
)
def test_one_exit_of_a_bracket_cancels_the_other(
    server: AlpacaServer, exit_price: float, filled: tuple[str, str], canceled: str
) -> None:
    bracket(server)
    price(server, 100)
    price(server, exit_price)
    assert set(statuses(server)[1:]) == {filled, (canceled, "canceled")}
    assert server.broker.book.positions == {}


def test_a_part_fill_of_the_take_profit_reduces_the_stop_loss(server: AlpacaServer) -> None:
    bracket(server)
    price(server, 100)
    server.broker.book.fill_quantity_max = Decimal(3)
    price(server, 110)
    stop = list(server.broker.book.orders.values())[2]
    assert (stop.status, stop.quantity) == ("held", Decimal(1))
    price(server, 80)
    assert statuses(server)[1:] == [("limit", "canceled"), ("stop", "filled")]
    assert server.broker.book.positions == {}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_cancel_of_one_order_cancels_the_open_rest_of_its_group(server: AlpacaServer, number: int) -> None:
    bracket(server)
    trading = client(server)
    trading.cancel_order_by_id(list(server.broker.book.orders)[number])
    assert {status for _, status in statuses(server)} == {"canceled"}
    bracket(server)
    price(server, 100)
    trading.cancel_order_by_id(list(server.broker.book.orders)[4])
    assert statuses(server)[3:] == [("market", "filled"), ("limit", "canceled"), ("stop", "canceled")]


@pytest.mark.parametrize(
    ("exits", "kind", "exit_price"), [({"stop_loss": "90"}, "stop", 90), ({"take_profit": "110"}, "limit", 110)]
)
def test_an_oto_order_has_one_exit(
    server: AlpacaServer, api: TradingClient, exits: dict[str, str], kind: str, exit_price: float
) -> None:
    order = submit(api, group("oto", **exits, qty="2"))
    assert [(leg["type"], leg["status"]) for leg in order["legs"]] == [(kind, "held")]
    price(server, 100)
    assert statuses(server) == [("market", "filled"), (kind, "new")]
    price(server, exit_price)
    assert statuses(server) == [("market", "filled"), (kind, "filled")]


def test_an_oco_order_closes_a_position(server: AlpacaServer) -> None:
    hold(server, 5)
    fields: dict[str, Any] = {"symbol": STOCK, "qty": 5, "side": OrderSide.SELL, "time_in_force": TimeInForce.DAY}
    exits: dict[str, Any] = {
        "take_profit": TakeProfitRequest(limit_price=110),
        "stop_loss": StopLossRequest(stop_price=90, limit_price=89),
    }
    order: Any = client(server).submit_order(
        LimitOrderRequest(**fields, **exits, limit_price=110, order_class=OrderClass.OCO)
    )
    assert (order.order_class, order.status, [leg.type for leg in order.legs]) == ("oco", "new", ["stop_limit"])
    price(server, 90)
    assert statuses(server) == [("limit", "canceled"), ("stop_limit", "filled")]


def test_nested_lists_put_the_exits_under_their_entry(server: AlpacaServer) -> None:
    bracket(server)

    def listed(status: QueryOrderStatus, *, nested: bool) -> list[Any]:
        orders: Any = client(server).get_orders(GetOrdersRequest(status=status, nested=nested))
        return [(order.type, [leg.type for leg in order.legs or []]) for order in orders]

    flat: list[Any] = [("stop", []), ("limit", []), ("market", [])]
    assert listed(QueryOrderStatus.OPEN, nested=False) == flat
    assert listed(QueryOrderStatus.OPEN, nested=True) == [("market", ["limit", "stop"])]
    price(server, 100)
    assert listed(QueryOrderStatus.OPEN, nested=True) == [("limit", ["stop"])], "the entry is closed"
    assert listed(QueryOrderStatus.ALL, nested=True) == [("market", ["limit", "stop"])]


def test_an_exit_can_be_replaced_and_stays_in_its_group(server: AlpacaServer, api: TradingClient) -> None:
    entry = bracket(server)
    price(server, 100)
    trading = client(server)
    target, stop = (str(leg.id) for leg in entry.legs)
    found = refusal(api, "PATCH", f"/orders/{stop}", {"stop_price": "115"})
    assert found[:3] == (422, UNPROCESSABLE, "take_profit.limit_price must be > stop_loss.stop_price")
    found = refusal(api, "PATCH", f"/orders/{stop}", {"qty": "2"})
    assert found[:3] == (422, UNPROCESSABLE, "qty cannot be changed for advanced orders")
    new_stop: Any = trading.replace_order_by_id(stop, ReplaceOrderRequest(stop_price=95))
    new_target: Any = trading.replace_order_by_id(target, ReplaceOrderRequest(limit_price=120))
    assert (str(new_stop.replaces), new_stop.stop_price, new_stop.status) == (stop, "95", "held")
    legs = request(api, "GET", f"/orders/{entry.id}", {"nested": "true"})["legs"]
    assert [leg["id"] for leg in legs] == [str(new_stop.id), str(new_target.id)]
    price(server, 94)
    assert statuses(server)[3:] == [("stop", "filled"), ("limit", "canceled")]


def test_a_held_exit_can_be_replaced(server: AlpacaServer) -> None:
    entry = bracket(server)
    client(server).replace_order_by_id(entry.legs[1].id, ReplaceOrderRequest(stop_price=95))
    price(server, 100)
    price(server, 95)
    assert statuses(server) == [("market", "filled"), ("limit", "canceled"), ("stop", "replaced"), ("stop", "filled")]


def test_a_replaced_trailing_stop_keeps_its_high_water_mark(server: AlpacaServer) -> None:
    hold(server, 5)
    trading = client(server)
    fields: dict[str, Any] = {"symbol": STOCK, "qty": 5, "side": OrderSide.SELL, "time_in_force": TimeInForce.GTC}
    order: Any = trading.submit_order(TrailingStopOrderRequest(**fields, trail_percent=10))
    assert (order.hwm, order.stop_price) == ("100", "90")
    price(server, 120)
    price(server, 115)
    changed: Any = trading.replace_order_by_id(order.id, ReplaceOrderRequest(trail=5))
    assert (changed.hwm, changed.trail_percent, changed.stop_price) == ("120", "5", "114")
    price(server, 114.5)
    price(server, 114)
    assert statuses(server) == [("trailing_stop", "replaced"), ("trailing_stop", "filled")]


def test_a_trailing_stop_to_buy_follows_the_lowest_price(server: AlpacaServer, api: TradingClient) -> None:
    hold(server, -5)
    order = submit(api, terms(qty="5", type="trailing_stop", trail_price="3"))
    for value in (96, 98.9, 99):
        assert statuses(server) == [("trailing_stop", "new")]
        price(server, value)
    order = request(api, "GET", f"/orders/{order['id']}")
    assert (order["hwm"], order["stop_price"], order["filled_avg_price"]) == ("96", "99", "99")


@pytest.mark.parametrize(
    ("order", "changes", "found"),
    [
        (limit("99"), {"limit_price": "99"}, (UNPROCESSABLE, "order parameters are not changed")),
        (limit("99"), {}, (UNPROCESSABLE, "order parameters are not changed")),
        (limit("99"), {"qty": "0"}, (UNPROCESSABLE, "qty must be > filled_qty")),
        (limit("99"), {"stop_price": "101"}, (INVALID, "limit orders require no stop price")),
        (limit("99"), {"trail": "2"}, (INVALID, "trail is only valid for trailing stop orders")),
        (limit("99"), {"time_in_force": "never"}, (INVALID, "invalid time_in_force")),
        (limit("99"), {"client_order_id": "used", "qty": "2"}, (INVALID, "client_order_id must be unique")),
        (limit("99"), {"limit_price": "99.001"}, (UNPROCESSABLE, "sub-penny")),
        (limit("99"), {"qty": "30000"}, (40310000, "insufficient buying power")),
        (terms(qty=None, notional="50"), {"qty": "2"}, (UNPROCESSABLE, "notional orders cannot be replaced")),
    ],
)
def test_a_replacement_against_a_rule_leaves_the_order(
    server: AlpacaServer, api: TradingClient, order: dict[str, Any], changes: dict[str, Any], found: tuple[int, str]
) -> None:
    submit(api, limit("98", client_order_id="used"))
    order_id = submit(api, order)["id"]
    _, code, message, _ = refusal(api, "PATCH", f"/orders/{order_id}", changes)
    assert code == found[0] and found[1] in message
    assert [status for _, status in statuses(server)] == ["new", "new"]


def test_a_replacement_keeps_fills_and_may_change_quantity_and_price(server: AlpacaServer, api: TradingClient) -> None:
    server.broker.book.fill_quantity_max = Decimal(2)
    order = submit(api, limit("99", qty="5"))
    price(server, 99)
    changed = request(api, "PATCH", f"/orders/{order['id']}", {"qty": "4", "limit_price": "98"})
    assert (changed["filled_qty"], changed["qty"], changed["limit_price"]) == ("2", "4", "98")
    price(server, 98)
    assert server.broker.book.positions == {STOCK: 4}
    found = refusal(api, "PATCH", f"/orders/{order['id']}", {"qty": "9"})
    assert found[:3] == (422, UNPROCESSABLE, "cannot replace order in replaced status")
