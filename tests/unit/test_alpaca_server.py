"""The local broker follows Alpaca's protocol and rules. Alpaca's own client checks the protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.live.news import NewsDataStream
from alpaca.data.live.stock import StockDataStream
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import GetOrdersRequest, LimitOrderRequest, MarketOrderRequest, TrailingStopOrderRequest
from alpaca.trading.stream import TradingStream

from deploy.alpaca_server import AlpacaServer, ServerSettings
from deploy.alpaca_server.broker_order import BrokerApiError
from deploy.alpaca_server.market import BarRow
from deploy.alpaca_server.order_book import CLOSED, EXTENDED
from deploy.local.ports import free_ports
from tests.unit.alpaca_broker import client, local_broker, wait_for


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    with local_broker() as running:
        yield running


def buy(quantity: float, name: str, **terms: Any) -> MarketOrderRequest:
    side = terms.pop("side", OrderSide.BUY)
    time_in_force = terms.pop("time_in_force", TimeInForce.DAY)
    return MarketOrderRequest(
        symbol="AAPL", qty=quantity, side=side, time_in_force=time_in_force, client_order_id=name, **terms
    )


def move(server: AlpacaServer, price: float, symbol: str = "AAPL") -> None:
    server.run_coroutine(server.broker.publish_price(symbol, price, time.time_ns()))


def test_an_order_fills_at_the_next_price_and_the_stream_reports_it(server: AlpacaServer) -> None:
    updates: list[Any] = []

    async def on_update(update: Any) -> None:
        updates.append(update)

    stream = TradingStream("local", "local", url_override=f"ws://127.0.0.1:{server.url.rsplit(':', 1)[1]}/stream")
    stream.subscribe_trade_updates(on_update)
    threading.Thread(target=stream.run, daemon=True).start()
    wait_for(lambda: bool(server.broker.trade_clients), "the stream is listened to")
    trading = client(server)
    order: Any = trading.submit_order(buy(10, "one"))
    assert order.status == "new"
    move(server, 101.5)
    wait_for(lambda: len(updates) == 2, "two updates")
    assert [update.event for update in updates] == ["new", "fill"]
    assert (updates[1].price, updates[1].qty, updates[1].position_qty) == (101.5, 10.0, 10.0)
    filled: Any = trading.get_order_by_client_id("one")
    assert (filled.status, filled.filled_qty, filled.filled_avg_price) == ("filled", "10", "101.5")
    positions: Any = trading.get_all_positions()
    assert [(p.symbol, p.qty) for p in positions] == [("AAPL", "10")]
    account: Any = trading.get_account()
    assert Decimal(account.cash) == 1_000_000 - 1015
    stream.stop()


def test_duplicate_client_order_id_is_rejected(server: AlpacaServer) -> None:
    trading = client(server)
    trading.submit_order(buy(1, "same"))
    with pytest.raises(APIError) as error:
        trading.submit_order(buy(1, "same"))
    assert error.value.status_code == 422
    assert server.broker.book.submission_counts == {"same": 1}


@pytest.mark.parametrize(
    ("position", "order", "status", "message"),
    [
        (5, buy(6, "x", side=OrderSide.SELL), 403, "insufficient qty available"),
        (-5, buy(6, "x"), 403, "insufficient qty available"),
        (0, buy(100_000, "x"), 403, "insufficient buying power"),
        (0, buy(0.5, "x", time_in_force=TimeInForce.GTC), 422, "fractional"),
        (0, buy(1, "x", extended_hours=True), 422, "extended hours order must be DAY or GTC limit"),
    ],
)
def test_alpaca_rules_reject_the_order(
    server: AlpacaServer, position: int, order: Any, status: int, message: str
) -> None:
    if position:
        side = OrderSide.BUY if position > 0 else OrderSide.SELL
        client(server).submit_order(buy(abs(position), "first", side=side))
        move(server, 100)
    with pytest.raises(APIError, match=message) as error:
        client(server).submit_order(order)
    assert error.value.status_code == status
    assert "x" not in server.broker.book.submission_counts


def test_only_extended_limit_orders_trade_in_extended_hours(server: AlpacaServer) -> None:
    trading = client(server)
    trading.submit_order(buy(1, "market"))
    limit = {"symbol": "AAPL", "qty": 1, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}
    trading.submit_order(LimitOrderRequest(**limit, limit_price=101, client_order_id="late", extended_hours=True))
    states = []
    for session in (CLOSED, EXTENDED, "regular"):
        server.broker.book.session = session
        move(server, 100)
        orders = server.broker.book.by_client
        states.append((orders["market"].status, orders["late"].status))
    assert states == [("new", "new"), ("new", "filled"), ("filled", "filled")]


def test_a_trailing_stop_follows_the_best_price(server: AlpacaServer) -> None:
    trading = client(server)
    trading.submit_order(buy(10, "in"))
    move(server, 100)
    terms = {"symbol": "AAPL", "qty": 10, "side": OrderSide.SELL, "time_in_force": TimeInForce.DAY}
    trading.submit_order(TrailingStopOrderRequest(**terms, trail_price=2, client_order_id="out"))
    for price, status in ((101, "new"), (105, "new"), (103.5, "new"), (103, "filled")):
        move(server, price)
        assert server.broker.book.by_client["out"].status == status, price


def test_requests_over_the_minute_limit_get_429() -> None:
    with local_broker(requests_per_minute=3) as server:
        trading = client(server)
        trading._retry = 0
        for _ in range(3):
            trading.get_account()
        with pytest.raises(APIError) as error:
            trading.get_account()
        assert error.value.status_code == 429


def test_wrong_keys_are_rejected(server: AlpacaServer) -> None:
    with pytest.raises(APIError) as error:
        client(server, key="stolen").get_account()
    assert error.value.status_code == 403


def test_scripted_faults_hit_once_each(server: AlpacaServer) -> None:
    trading = client(server)
    trading._retry = 0
    server.broker.plan_fault("submit", "status", status=500)
    server.broker.plan_fault("submit", "lost_answer")
    for _ in range(2):
        with pytest.raises(APIError):
            trading.submit_order(buy(1, "unsure"))
    assert server.broker.book.submission_counts == {"unsure": 1}, "the first was not carried out, the second was"
    open_orders: Any = trading.get_orders(GetOrdersRequest())
    assert [order.client_order_id for order in open_orders] == ["unsure"]


def test_bars_quotes_trades_and_news_arrive_by_socket_and_bars_by_request(server: AlpacaServer) -> None:
    received: dict[str, list[Any]] = {"bars": [], "quotes": [], "trades": [], "news": []}

    def recorder(channel: str) -> Any:
        async def on_message(message: Any) -> None:
            received[channel].append(message)

        return on_message

    stream_url = f"ws://127.0.0.1:{server.url.rsplit(':', 1)[1]}"
    market = StockDataStream("local", "local", url_override=stream_url + "/v2/iex")
    market.subscribe_bars(recorder("bars"), "AAPL")
    market.subscribe_quotes(recorder("quotes"), "AAPL")
    market.subscribe_trades(recorder("trades"), "*")
    news = NewsDataStream("local", "local", url_override=stream_url + "/v1beta1/news")
    news.subscribe_news(recorder("news"), "*")
    for stream in (market, news):
        threading.Thread(target=stream.run, daemon=True).start()
    wait_for(lambda: any(w.subscriptions for w in server.broker.market_clients), "bars are listened to")
    wait_for(lambda: any(r.subscriptions for r in server.broker.news_clients), "news is listened to")
    open_ns = 1_700_000_040 * 10**9
    server.run_coroutine(
        server.broker.publish_bar(
            BarRow(symbol="AAPL", open_ns=open_ns, open=10.0, high=12.0, low=9.0, close=11.0, volume=500.0)
        )
    )
    move(server, 100)
    move(server, 50, "MSFT")
    server.run_coroutine(server.broker.publish_news("Rates rise", ["AAPL"]))
    wait_for(lambda: len(received["news"]) == 1 and len(received["trades"]) == 2, "all came")
    bar = received["bars"][0]
    assert (bar.symbol, bar.open, bar.high, bar.low, bar.close, bar.volume) == ("AAPL", 10.0, 12.0, 9.0, 11.0, 500.0)
    assert bar.timestamp == datetime.fromtimestamp(open_ns / 1e9, UTC)
    assert [(q.bid_price, q.ask_price) for q in received["quotes"]] == [(99.99, 100.01)]
    assert received["news"][0].headline == "Rates rise"
    history = StockHistoricalDataClient("local", "local", url_override=server.url)
    start = bar.timestamp - timedelta(minutes=1)
    bars_response: Any = history.get_stock_bars(
        StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Minute, start=start)
    )
    assert [row.close for row in bars_response.data["AAPL"]] == [11.0]
    market.stop()
    news.stop()


def test_an_unknown_fault_is_rejected(server: AlpacaServer) -> None:
    with pytest.raises(ValueError, match="unknown submit fault 'explode'"):
        server.broker.plan_fault("submit", "explode")
    with pytest.raises(BrokerApiError, match="order not found"):
        server.broker.book.find("nothing")


def test_the_account_survives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    settings = ServerSettings(port=free_ports(1)[0], symbols=("AAPL",), seed=None, account_file=file)
    with AlpacaServer(settings) as first:
        trading = client(first)
        trading.submit_order(buy(3, "filled"))
        move(first, 101)
        trading.submit_order(buy(2, "open", extended_hours=False))
        before = first.broker.book
    with AlpacaServer(settings) as restarted:
        book = restarted.broker.book
        assert (
            (book.cash, book.positions)
            == (before.cash, before.positions)
            == (Decimal(1_000_000 - 303), {"AAPL": Decimal(3)})
        )
        assert book.orders == before.orders
        with pytest.raises(APIError, match="must be unique"):
            client(restarted).submit_order(buy(3, "filled"))
        move(restarted, 102)
        assert book.by_client["open"].status == "filled"
