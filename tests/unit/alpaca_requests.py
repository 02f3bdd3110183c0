"""Requests to the local broker through Alpaca's own client, and an empty account for each test."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient

from deploy.alpaca_server import AlpacaServer
from deploy.alpaca_server.order_book import REGULAR

STOCK, COIN = "AAPL", "BTC/USD"
INVALID, FORBIDDEN, DAY_TRADING, NOT_FOUND, UNPROCESSABLE = 40010001, 40310000, 40310100, 40410000, 42210000


def raw_client(server: AlpacaServer) -> TradingClient:
    """Return a client whose responses are plain JSON, without retries."""
    client = TradingClient("local", "local", url_override=server.url, raw_data=True)
    client._retry = 0
    return client


def reset_account(server: AlpacaServer) -> None:
    """Empty the account: 1,000,000 USD, the regular session, all prices at 100."""
    book = server.broker.book
    for state in (book.orders, book.by_client, book.positions, book.costs, book.fills, book.activities):
        state.clear()
    book.cash, book.session, book.fill_quantity_max = Decimal(1_000_000), REGULAR, None
    book.prices = dict.fromkeys(book.assets, Decimal(100))
    for asset in book.assets.values():
        asset.tradable = asset.fractionable = True
        asset.shortable = not asset.is_crypto
    book.configuration.change(
        {"suspend_trade": False, "no_shorting": False, "fractional_trading": True, "pdt_check": "both"}
    )
    trades = book.day_trades
    trades.trades, trades.opened, trades.counted = [], {}, set()


def terms(**changes: Any) -> dict[str, Any]:
    """Return a market order to buy one share for the day, with changes. None removes a field."""
    order = {"symbol": STOCK, "qty": "1", "side": "buy", "type": "market", "time_in_force": "day", **changes}
    return {name: value for name, value in order.items() if value is not None}


def limit(price: Any, **changes: Any) -> dict[str, Any]:
    return terms(type="limit", limit_price=price, **changes)


def coin(**changes: Any) -> dict[str, Any]:
    return terms(**{"symbol": COIN, "qty": "0.1", "time_in_force": "gtc", **changes})


def group(order_class: str, take_profit: Any = None, stop_loss: Any = None, **changes: Any) -> dict[str, Any]:
    exits: dict[str, Any] = {"order_class": order_class}
    if take_profit is not None:
        exits["take_profit"] = {"limit_price": take_profit}
    if stop_loss is not None:
        exits["stop_loss"] = {"stop_price": stop_loss}
    return terms(**(exits | changes))


def submit(api: TradingClient, order: dict[str, Any]) -> dict[str, Any]:
    response: Any = api.post("/orders", order)
    return dict(response)


def request(api: TradingClient, method: str, path: str, data: Any = None) -> Any:
    return api._request(method, path, data)


def refusal(api: TradingClient, method: str, path: str, data: Any = None) -> tuple[int, int, str, dict[str, Any]]:
    """Send a request that must fail. Return status, code, message and the whole response."""
    with pytest.raises(APIError) as error:
        request(api, method, path, data)
    response = error.value.response
    assert response is not None, "the server responded"
    body = response.json()
    return response.status_code, body["code"], body["message"], body


def price(server: AlpacaServer, value: float, symbol: str = STOCK) -> None:
    server.run_coroutine(server.broker.publish_price(symbol, value, time.time_ns()))


def hold(server: AlpacaServer, quantity: Any, symbol: str = STOCK) -> None:
    """Give the account a position from an earlier day."""
    server.broker.book.positions[symbol] = Decimal(quantity)
    server.broker.book.costs[symbol] = Decimal(quantity) * 100
