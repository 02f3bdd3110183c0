"""Forward the updates that the dataflows publish in Redis to the WebSockets of this process.

One subscription serves all clients. A slow client is disconnected when its queue is full and may reconnect. Memory is
bounded by clients x `QUEUED_MESSAGES_MAX` references to shared texts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import redis.asyncio as redis
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from redis.exceptions import RedisError

from api.json_types import number, utc

log = structlog.get_logger(__name__)

QUEUED_MESSAGES_MAX = 256
RETRY_PAUSE_S = (0.1, 2.0)
MARKET, PORTFOLIO = "market", "portfolio"
BARS, POSITIONS, VALUATIONS = "updates:bars", "updates:positions", "updates:valuations"


class StreamMessage(NamedTuple):
    """One message of a stream. `symbol` is None for messages about the whole portfolio."""

    stream: str
    symbol: str | None
    text: str


class StreamClient:
    """The subscription of one WebSocket: its stream, its symbols (None: all) and its queue."""

    def __init__(self, stream: str, symbols: set[str] | None) -> None:
        self.stream, self.symbols = stream, symbols
        self.queue: asyncio.Queue[str] = asyncio.Queue(QUEUED_MESSAGES_MAX)
        self.too_slow = asyncio.Event()

    def offer(self, message: StreamMessage) -> None:
        if self.stream != message.stream or self.too_slow.is_set():
            return
        if self.symbols is not None and message.symbol is not None and message.symbol not in self.symbols:
            return
        try:
            self.queue.put_nowait(message.text)
        except asyncio.QueueFull:
            self.too_slow.set()


class Hub:
    """Distributes messages to the clients. Subscribes when the first client joins and reconnects after failures of
    Redis.

    All methods run in the event loop.
    """

    def __init__(self, redis_url: str, registry: CollectorRegistry, *, clients_max: int) -> None:
        self._redis_url, self._clients_max = redis_url, clients_max
        self._clients: set[StreamClient] = set()
        self._task: asyncio.Task[None] | None = None
        self._last_prices: dict[str, Decimal] = {}  # last price by symbol, for the value of a position
        self._open_streams = Gauge("platform_api_streams", "open WebSockets", registry=registry)
        self._dropped_streams = Counter(
            "platform_api_streams_dropped", "WebSockets disconnected because they were too slow", registry=registry
        )
        self.subscribed = asyncio.Event()
        """Set while the subscription is active."""

    def join(self, client: StreamClient) -> bool:
        """Add a client. Return False if the maximum number of clients is reached."""
        if len(self._clients) >= self._clients_max:
            return False
        self._clients.add(client)
        self._open_streams.set(len(self._clients))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())
        return True

    def leave(self, client: StreamClient) -> None:
        self._clients.discard(client)
        self._open_streams.set(len(self._clients))
        if client.too_slow.is_set():
            self._dropped_streams.inc()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = None

    async def _listen(self) -> None:
        pause, pause_max = RETRY_PAUSE_S
        disconnected = False
        while True:
            try:
                async with redis.Redis.from_url(self._redis_url, socket_connect_timeout=2.0) as client:
                    await self._load_last_prices(client)
                    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
                        await pubsub.subscribe(BARS, POSITIONS, VALUATIONS)
                        if disconnected:
                            log.warning("redis available again, streams resumed")
                        pause, disconnected = RETRY_PAUSE_S[0], False
                        self.subscribed.set()
                        async for message in pubsub.listen():
                            self._publish(message["channel"].decode(), message["data"])
                            # Let the clients empty their queues between the messages of a burst.
                            await asyncio.sleep(0)
            except (RedisError, OSError) as error:
                self.subscribed.clear()
                if not disconnected:
                    log.warning(
                        "redis unavailable, streams paused", error=str(error).splitlines()[0] if str(error) else ""
                    )
                disconnected = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, pause_max)

    async def _load_last_prices(self, client: redis.Redis) -> None:
        """Load the last prices of the positions: a position update may arrive before the next bar."""
        names = [key async for key in client.scan_iter("latest:position:*", count=1000) if not key.endswith(b":fence")]
        symbols = [name.decode().removeprefix("latest:position:") for name in names]
        if not symbols:
            return
        for body in await client.mget([f"latest:bar:{symbol}" for symbol in symbols]):
            if body is not None:
                row = json.loads(body)
                self._last_prices[row["symbol"]] = Decimal(repr(row["close"]))

    def _publish(self, channel: str, body: bytes) -> None:
        try:
            stream_message = self._build_message(channel, json.loads(body))
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            # Any program can publish in Redis; a malformed message must not end the streams.
            log.warning("malformed update in redis discarded", channel=channel, error=repr(error))
            return
        for client in self._clients:
            client.offer(stream_message)

    def _build_message(self, channel: str, row: dict[str, Any]) -> StreamMessage:
        return _MESSAGE_BUILDERS[channel](row, self._last_prices)


def _bar(row: dict[str, Any], last_prices: dict[str, Decimal]) -> StreamMessage:
    symbol = str(row["symbol"])
    if symbol in last_prices:
        last_prices[symbol] = Decimal(repr(row["close"]))
    fields = {"symbol": symbol, "price": row["close"], "volume": row["volume"], "timestamp": utc(row["ts_ns"])}
    bar = {
        "open_time": utc(row["open_ns"]),
        "open": row["open"],
        "high": row["high"],
        "low": row["low"],
        "traded": row["traded"],
    }
    return StreamMessage(MARKET, symbol, _to_json(fields | bar))


def _position(row: dict[str, Any], last_prices: dict[str, Decimal]) -> StreamMessage:
    symbol, quantity = str(row["symbol"]), Decimal(row["quantity"])
    price = last_prices.setdefault(symbol, Decimal(row["avg_price"]))
    fields = {
        "type": "position_update",
        "symbol": symbol,
        "new_quantity": number(quantity),
        "new_value": number(quantity * price),
        "avg_price": number(Decimal(row["avg_price"])),
        "realized_pnl": number(Decimal(row["realized_pnl"])),
        "timestamp": utc(row["ts_ns"]),
    }
    return StreamMessage(PORTFOLIO, symbol, _to_json(fields))


def _valuation(row: dict[str, Any], last_prices: dict[str, Decimal]) -> StreamMessage:
    names = {"total_value": "equity", "cash_balance": "cash"}
    names |= {name: name for name in ("gross_exposure", "net_exposure", "unrealized_pnl", "realized_pnl", "fees")}
    money = {name: number(Decimal(row[field])) for name, field in names.items()}
    fields = {"type": "valuation_update", **money, "timestamp": utc(row["ts_ns"])}
    return StreamMessage(PORTFOLIO, None, _to_json(fields))


_MESSAGE_BUILDERS: dict[str, Callable[[dict[str, Any], dict[str, Decimal]], StreamMessage]] = {
    BARS: _bar,
    POSITIONS: _position,
    VALUATIONS: _valuation,
}


def _to_json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))
