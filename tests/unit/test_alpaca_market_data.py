"""Market data of Alpaca: bars, quotes, trades and halts from its socket and its requests."""

from __future__ import annotations

import time
from typing import Any

import msgpack

from configs.settings import LiveFeedSection
from dataflows.sources.market.alpaca import AlpacaOptions, AlpacaRestProvider, AlpacaSocketProvider
from dataflows.sources.market.provider import QuoteUpdate, TradePrint
from dataflows.sources.trading_calendar import TradingCalendar
from deploy.alpaca_server.market import BarRow
from operators.bar_completion import MinuteRow
from schemas.records import HALTED, TRADING, TradingStatus
from tests.unit.alpaca_broker import local_broker, wait_for
from tests.unit.provider_updates import updates_until_trade
from tests.unit.test_live_feed import MINUTE_NS, SECOND_NS, START_NS


def test_alpacas_socket_reports_halts_and_resumptions() -> None:
    """With the feed `sip`. Other statuses, such as a price indication, change nothing."""
    at = msgpack.Timestamp.from_unix_nano(START_NS)
    halt: dict[str, Any] = {
        "T": "s",
        "S": "AAPL",
        "sc": "H",
        "sm": "Trading Halt",
        "rc": "T12",
        "rm": "Information requested",
    }
    messages: list[dict[str, Any]] = [
        {**halt, "t": at},
        {"T": "s", "S": "AAPL", "sc": "5", "sm": "Price Indication", "t": at},
        {"T": "s", "S": "AAPL", "sc": "P", "t": "yesterday"},
        {"T": "s", "S": "MSFT", "sc": "3", "sm": "Resume", "t": at},
    ]
    with local_broker() as server:
        live = LiveFeedSection(symbols=("AAPL", "MSFT"))
        socket = AlpacaSocketProvider(AlpacaOptions(key="local", secret="local", live=live, feed="sip", url=server.url))
        socket.start()
        wait_for(lambda: any("statuses" in w.subscriptions for w in server.broker.market_clients), "subscribed")
        for message in messages:
            server.run_coroutine(server.broker.publish_market_data("statuses", str(message["S"]), message))
        received: list[TradingStatus] = []

        def has_both() -> bool:
            received.extend(socket.drain_statuses())
            return len(received) == 2

        wait_for(has_both, "both statuses")
        socket.stop()
    first, last = received
    assert (first.symbol, first.state, first.ts_ns) == ("AAPL", HALTED, START_NS)
    assert (first.code, first.reason, first.source) == ("T12", "Information requested", "alpaca")
    assert (last.symbol, last.state, last.code, last.reason) == ("MSFT", TRADING, "", "Resume")
    [rejected] = socket.drain_rejected()
    assert rejected.reason == "field t must be a time, found 'yesterday'"


def test_alpacas_socket_and_requests_are_providers() -> None:
    with local_broker() as server:
        live = LiveFeedSection(symbols=("AAPL", "MSFT"), trades=True, stale_s=2.0)
        source = AlpacaOptions(key="local", secret="local", live=live, url=server.url)
        socket, requests = AlpacaSocketProvider(source), AlpacaRestProvider(source)
        minute = next(TradingCalendar("24/7").minutes(START_NS, MINUTE_NS))
        assert "disconnected" in socket.unhealthy_reason(minute, time.time_ns())
        socket.start()
        wait_for(lambda: not socket.unhealthy_reason(minute, time.time_ns()), "connected")
        wait_for(lambda: any(w.subscriptions for w in server.broker.market_clients), "subscribed")
        server.run_coroutine(
            server.broker.publish_bar(
                BarRow(symbol="AAPL", open_ns=START_NS, open=10.0, high=12.0, low=9.0, close=11.0, volume=500.0)
            )
        )
        server.run_coroutine(server.broker.publish_price("MSFT", 50.0, START_NS))
        wait_for(lambda: bool(socket.rows(minute)), "the bar")
        assert socket.rows(minute) == {
            "AAPL": MinuteRow(symbol="AAPL", open=10.0, high=12.0, low=9.0, close=11.0, volume=500.0)
        }
        quotes, trades = updates_until_trade(socket)
        assert quotes == [QuoteUpdate(symbol="MSFT", bid=49.99, ask=50.01, bid_size=3.0, ask_size=3.0)]
        assert trades == [TradePrint("MSFT", START_NS, 50.0, 100.0)]
        wait_for(lambda: not requests.unhealthy_reason(minute, 0), "the answer")
        assert requests.rows(minute) == socket.rows(minute)
        assert socket.history(START_NS, START_NS + MINUTE_NS) == {START_NS: socket.rows(minute)}
        later = time.time_ns() + 3 * SECOND_NS
        assert "no data received for" in socket.unhealthy_reason(minute, later)
        server.broker.rejects_connections = True
        server.run_coroutine(server.broker.disconnect())
        wait_for(lambda: "disconnected" in socket.unhealthy_reason(minute, time.time_ns()), "the cut is noticed")
        server.broker.rejects_connections = False
        wait_for(lambda: socket.unhealthy_reason(minute, time.time_ns()) == "", "it is back", 20)
        socket.stop()


def test_alpaca_socket_requests_missed_bars() -> None:
    now = [START_NS + 50 * SECOND_NS]
    minutes = TradingCalendar("24/7").minutes(START_NS, MINUTE_NS)
    first, second = next(minutes), next(minutes)
    with local_broker() as server:
        live = LiveFeedSection(symbols=("AAPL",), stale_s=1000.0)
        source = AlpacaOptions(key="local", secret="local", live=live, url=server.url)
        socket = AlpacaSocketProvider(source, now_ns=lambda: now[0])
        socket.start()
        wait_for(lambda: not socket.unhealthy_reason(first, now[0]), "connected")
        server.broker.rejects_connections = True
        server.run_coroutine(server.broker.disconnect())
        wait_for(lambda: "disconnected" in socket.unhealthy_reason(first, now[0]), "the cut is noticed")
        for number, close in ((0, 11.0), (1, 12.0)):
            server.broker.market.record(
                BarRow(
                    symbol="AAPL",
                    open_ns=START_NS + number * MINUTE_NS,
                    open=10.0,
                    high=12.0,
                    low=9.0,
                    close=close,
                    volume=500.0,
                )
            )
        now[0] = START_NS + 125 * SECOND_NS
        server.broker.rejects_connections = False
        wait_for(lambda: len(socket.rows(first)) == len(socket.rows(second)) == 1, "the missed bars", 20)
        assert [socket.rows(minute)["AAPL"].close for minute in (first, second)] == [11.0, 12.0]
        assert socket.unhealthy_reason(second, now[0]) == ""
        socket.stop()
