"""The local broker as one object on one event loop: book, market, sockets, faults, and the pace of its prices."""

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

from deploy.alpaca_server import memory
from deploy.alpaca_server.faults import Fault, Faults
from deploy.alpaca_server.market import SECOND_NS, BarRow, Market
from deploy.alpaca_server.order_book import Book, BrokerOrder

HALF_SPREAD = 0.01


def iso(ns: int) -> str:
    """RFC 3339 with nanoseconds, as Alpaca writes times."""
    seconds, rest = divmod(ns, SECOND_NS)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


class Listener:
    """One authorised socket. `wants` are channel -> symbols, "*" for all."""

    def __init__(self, socket: WebSocket, *, binary_json: bool) -> None:
        self.socket, self._binary_json = socket, binary_json
        self.wants: dict[str, set[str]] = {}

    async def send(self, message: Any) -> None:
        """msgpack on market data and news, JSON in a binary frame on the trading stream."""
        if self._binary_json:
            await self.socket.send_bytes(json.dumps(message).encode())
        else:
            await self.socket.send_bytes(msgpack.packb(message, datetime=True))


class Broker:
    """What the routes and sockets share."""

    def __init__(self, market: Market, *, key: str, secret: str, account_id: str, requests_per_minute: int) -> None:
        self.key, self.secret, self.account_id = key, secret, account_id
        self.market, self.faults = market, Faults()
        self.book = Book(self._tell, lambda: iso(time.time_ns()))
        self.traders: list[Listener] = []
        self.watchers: list[Listener] = []
        self.readers: list[Listener] = []
        self.news: list[dict[str, Any]] = []
        self.refusing = False  # new sockets are turned away
        self.muted = False  # sockets stay, nothing is sent
        self.requests: deque[float] = deque()
        self.requests_per_minute = requests_per_minute
        self.state: Path | None = None
        self._held: dict[str, Any] | None = None  # a swapped update waits for the next one
        self._tasks: set[asyncio.Task[None]] = set()

    # -- trade updates -------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Put the account on record, where there is a place for it."""
        if self.state is not None:
            memory.save(self.book, self.state)

    def _tell(self, event: str, order: BrokerOrder, fields: dict[str, Any]) -> None:
        self.keep()
        at = iso(time.time_ns())
        data = {"event": event, "event_id": f"{len(self.book.fills)}", "at": at, "timestamp": at, **fields}
        update = {"stream": "trade_updates", "data": {**data, "order": order.wire()}}
        fault = self.faults.take("update", event)
        held, self._held = self._held, None
        if fault is None:
            self._later(update)
        elif fault.kind == "duplicate":
            self._later(update)
            self._later(update)
        elif fault.kind == "late":
            self._later(update, fault.delay_s)
        elif fault.kind == "swap":
            self._held = update
        if held is not None:
            self._later(held)

    def _later(self, update: dict[str, Any], delay_s: float = 0.0) -> None:
        async def deliver() -> None:
            if delay_s:
                await asyncio.sleep(delay_s)
            await self.publish(self.traders, update)

        task = asyncio.get_running_loop().create_task(deliver())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def publish(self, listeners: list[Listener], message: Any) -> None:
        if self.muted:
            return
        for listener in list(listeners):
            try:
                await listener.send(message)
            except (WebSocketDisconnect, RuntimeError):
                # Gone without a word; its own loop takes it off the list.
                continue

    async def disconnect(self) -> None:
        """Cut every socket."""
        for listener in [*self.traders, *self.watchers, *self.readers]:
            try:
                await listener.socket.close(1012)
            except RuntimeError:
                continue  # closed by the other side a moment ago

    # -- market --------------------------------------------------------------------------------------------------------

    async def watch(self, channel: str, symbol: str, message: dict[str, Any]) -> None:
        wanting = [w for w in self.watchers if w.wants.get(channel, set()) & {symbol, "*"}]
        await self.publish(wanting, [message])

    async def show_price(self, symbol: str, price: float, now_ns: int) -> None:
        """A quote around the price and a trade at it; orders meet it."""
        at = msgpack.Timestamp.from_unix_nano(now_ns)
        quote = {"T": "q", "S": symbol, "bx": "V", "bp": round(price - HALF_SPREAD, 4), "bs": 3, "ax": "V"}
        rest = {"ap": round(price + HALF_SPREAD, 4), "as": 3, "c": ["R"], "z": "C", "t": at}
        await self.watch("quotes", symbol, {**quote, **rest})
        trade = {"T": "t", "S": symbol, "i": now_ns % 10**12, "x": "V", "p": price, "s": 100, "c": ["@"], "z": "C"}
        await self.watch("trades", symbol, {**trade, "t": at})
        self.book.set_price(symbol, Decimal(str(price)))

    async def show_bar(self, row: BarRow) -> None:
        self.market.record(row)
        at = msgpack.Timestamp.from_unix_nano(row.open_ns)
        values = {"o": row.open, "h": row.high, "l": row.low, "c": row.close, "v": row.volume, "n": 1, "vw": row.close}
        await self.watch("bars", row.symbol, {"T": "b", "S": row.symbol, **values, "t": at})

    async def tell_news(self, headline: str, symbols: list[str]) -> None:
        now_ns = time.time_ns()
        number = len(self.news) + 1
        url = f"http://localhost/news/{number}"
        text = {"headline": headline, "summary": headline, "content": "", "url": url, "author": "", "source": "local"}
        item = {"id": number, **text, "symbols": symbols, "images": []}
        self.news.append({**item, "created_at": iso(now_ns), "updated_at": iso(now_ns)})
        at = msgpack.Timestamp.from_unix_nano(now_ns)
        wanting = [r for r in self.readers if r.wants.get("news", set()) & {*symbols, "*"}]
        await self.publish(wanting, [{"T": "n", **item, "created_at": at, "updated_at": at}])

    async def run_market(self, step_s: float) -> None:
        """With simulated prices: a price a step for each symbol, and a bar at the end of each interval."""
        interval_ns = self.market.interval_ns
        open_ns = time.time_ns() // interval_ns * interval_ns
        while self.market.simulated:
            now_ns = time.time_ns()
            while open_ns + interval_ns <= now_ns:
                for symbol in self.market.symbols:
                    row = self.market.bar(symbol, open_ns)
                    if row is not None:
                        await self.show_bar(row)
                open_ns += interval_ns
            for symbol in self.market.symbols:
                price = self.market.price(symbol, now_ns)
                if price is not None:
                    await self.show_price(symbol, price, now_ns)
            await asyncio.sleep(step_s)

    # -- requests ------------------------------------------------------------------------------------------------------

    def over_rate(self) -> bool:
        """Whether this request is one too many within a minute."""
        now = time.monotonic()
        while self.requests and self.requests[0] < now - 60:
            self.requests.popleft()
        self.requests.append(now)
        return len(self.requests) > self.requests_per_minute

    def plan(self, place: str, kind: str, times: int = 1, **options: Any) -> None:
        self.faults.plan(Fault(place, kind, **options), times)
