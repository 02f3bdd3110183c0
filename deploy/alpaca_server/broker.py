"""The local broker as one object on one event loop: order book, market, sockets, faults and price updates."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
from starlette.websockets import WebSocket, WebSocketDisconnect

from deploy.alpaca_server import account_store
from deploy.alpaca_server.broker_order import BrokerOrder
from deploy.alpaca_server.faults import BrokerFault, FaultQueue
from deploy.alpaca_server.market import SECOND_NS, BarRow, LocalMarket
from deploy.alpaca_server.order_book import BrokerBook

HALF_SPREAD = 0.01


def iso(ns: int) -> str:
    """Format a time as RFC 3339 with nanoseconds, as Alpaca does."""
    seconds, rest = divmod(ns, SECOND_NS)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


class SocketClient:
    """One authorized socket. `subscriptions` maps a channel to symbols, "*" for all."""

    def __init__(self, socket: WebSocket, *, binary_json: bool) -> None:
        self.socket, self._binary_json = socket, binary_json
        self.subscriptions: dict[str, set[str]] = {}

    async def send(self, message: Any) -> None:
        """Send as msgpack (market data and news) or as JSON in a binary frame (trading stream)."""
        if self._binary_json:
            await self.socket.send_bytes(json.dumps(message).encode())
        else:
            await self.socket.send_bytes(msgpack.packb(message, datetime=True))


class LocalBroker:
    """The state that routes and sockets share."""

    def __init__(
        self, market: LocalMarket, *, key: str, secret: str, account_id: str, requests_per_minute: int
    ) -> None:
        self.key, self.secret, self.account_id = key, secret, account_id
        self.market, self.faults = market, FaultQueue()
        self.book = BrokerBook(self._publish_update, lambda: iso(time.time_ns()))
        self.trade_clients: list[SocketClient] = []
        self.market_clients: list[SocketClient] = []
        self.news_clients: list[SocketClient] = []
        self.news: list[dict[str, Any]] = []
        self.rejects_connections = False  # whether new sockets are rejected
        self.muted = False  # whether sockets stay open without messages
        self.requests: deque[float] = deque()  # times of the requests of the last minute
        self.data_requests: deque[float] = deque()
        self.requests_per_minute = requests_per_minute
        self.account_file: Path | None = None
        self._delayed_update: dict[str, Any] | None = None  # a swapped update, sent after the next one
        self._tasks: set[asyncio.Task[None]] = set()

    # -- trade updates -------------------------------------------------------------------------------------------------

    def save_account(self) -> None:
        """Write the account to its file, if there is one."""
        if self.account_file is not None:
            account_store.save_account(self.book, self.account_file)

    def _publish_update(self, event: str, order: BrokerOrder, fields: dict[str, Any]) -> None:
        self.save_account()
        at = iso(time.time_ns())
        data = {"event": event, "event_id": f"{len(self.book.fills)}", "at": at, "timestamp": at, **fields}
        update = {"stream": "trade_updates", "data": {**data, "order": order.as_json()}}
        fault = self.faults.pop("update", event)
        delayed, self._delayed_update = self._delayed_update, None
        if fault is None:
            self._send_later(update)
        elif fault.kind == "duplicate":
            self._send_later(update)
            self._send_later(update)
        elif fault.kind == "late":
            self._send_later(update, fault.delay_s)
        elif fault.kind == "swap":
            self._delayed_update = update
        if delayed is not None:
            self._send_later(delayed)

    def _send_later(self, update: dict[str, Any], delay_s: float = 0.0) -> None:
        async def deliver() -> None:
            if delay_s:
                await asyncio.sleep(delay_s)
            await self.publish(self.trade_clients, update)

        task = asyncio.get_running_loop().create_task(deliver())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def publish(self, clients: list[SocketClient], message: Any) -> None:
        if self.muted:
            return
        for client in list(clients):
            try:
                await client.send(message)
            except (WebSocketDisconnect, RuntimeError):
                # The client has disconnected; its own loop removes it from the list.
                continue

    async def disconnect(self) -> None:
        """Close every socket."""
        for client in [*self.trade_clients, *self.market_clients, *self.news_clients]:
            try:
                await client.socket.close(1012)
            except RuntimeError:
                continue  # the client has just closed it

    # -- market --------------------------------------------------------------------------------------------------------

    async def publish_market_data(self, channel: str, symbol: str, message: dict[str, Any]) -> None:
        subscribers = [w for w in self.market_clients if w.subscriptions.get(channel, set()) & {symbol, "*"}]
        await self.publish(subscribers, [message])

    async def publish_price(self, symbol: str, price: float, now_ns: int) -> None:
        """Publish a quote around the price and a trade at it, and match the open orders against it."""
        at = msgpack.Timestamp.from_unix_nano(now_ns)
        quote = {"T": "q", "S": symbol, "bx": "V", "bp": round(price - HALF_SPREAD, 4), "bs": 3, "ax": "V"}
        rest = {"ap": round(price + HALF_SPREAD, 4), "as": 3, "c": ["R"], "z": "C", "t": at}
        await self.publish_market_data("quotes", symbol, {**quote, **rest})
        trade = {"T": "t", "S": symbol, "i": now_ns % 10**12, "x": "V", "p": price, "s": 100, "c": ["@"], "z": "C"}
        await self.publish_market_data("trades", symbol, {**trade, "t": at})
        self.book.set_price(symbol, Decimal(str(price)))

    async def publish_bar(self, row: BarRow) -> None:
        self.market.record(row)
        at = msgpack.Timestamp.from_unix_nano(row.open_ns)
        values = {"o": row.open, "h": row.high, "l": row.low, "c": row.close, "v": row.volume, "n": 1, "vw": row.close}
        await self.publish_market_data("bars", row.symbol, {"T": "b", "S": row.symbol, **values, "t": at})

    async def publish_news(self, headline: str, symbols: list[str]) -> None:
        now_ns = time.time_ns()
        number = len(self.news) + 1
        url = f"http://localhost/news/{number}"
        content = {
            "headline": headline,
            "summary": headline,
            "content": "",
            "url": url,
            "author": "",
            "source": "local",
        }
        item = {"id": number, **content, "symbols": symbols, "images": []}
        self.news.append({**item, "created_at": iso(now_ns), "updated_at": iso(now_ns)})
        at = msgpack.Timestamp.from_unix_nano(now_ns)
        subscribers = [r for r in self.news_clients if r.subscriptions.get("news", set()) & {*symbols, "*"}]
        await self.publish(subscribers, [{"T": "n", **item, "created_at": at, "updated_at": at}])

    async def run_market(self, step_s: float) -> None:
        """Publish simulated prices: one per symbol and step, and a bar at the end of each interval."""
        interval_ns = self.market.interval_ns
        open_ns = time.time_ns() // interval_ns * interval_ns
        while self.market.simulated:
            now_ns = time.time_ns()
            while open_ns + interval_ns <= now_ns:
                for symbol in self.market.symbols:
                    row = self.market.bar(symbol, open_ns)
                    if row is not None:
                        await self.publish_bar(row)
                open_ns += interval_ns
            for symbol in self.market.symbols:
                price = self.market.price(symbol, now_ns)
                if price is not None:
                    await self.publish_price(symbol, price, now_ns)
            await asyncio.sleep(step_s)

    # -- requests ------------------------------------------------------------------------------------------------------

    def is_rate_limited(self, *, of_market_data: bool) -> bool:
        """Count a request. Return whether it exceeds the limit per minute. As at Alpaca, market data has its own."""
        now = time.monotonic()
        requests = self.data_requests if of_market_data else self.requests
        while requests and requests[0] < now - 60:
            requests.popleft()
        requests.append(now)
        return len(requests) > self.requests_per_minute

    def plan_fault(self, place: str, kind: str, times: int = 1, **options: Any) -> None:
        self.faults.plan(BrokerFault(place, kind, **options), times)
