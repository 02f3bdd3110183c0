"""What the dataflows publish in Redis, handed on to the WebSockets of this process.

One subscription for all clients. Nothing is kept for a client that does not keep up: it is let go and may come back, so
memory is bounded by clients x `BEHIND_MAX` references to texts that they share.
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

BEHIND_MAX = 256
RETRY_PAUSE_S = (0.1, 2.0)
MARKET, PORTFOLIO = "market", "portfolio"
BARS, POSITIONS, VALUATIONS = "updates:bars", "updates:positions", "updates:valuations"


class Update(NamedTuple):
    """One message of a stream. `symbol` is None where it is about the whole portfolio."""

    stream: str
    symbol: str | None
    text: str


class Client:
    """One WebSocket's view: which stream, which symbols (None: all), and what waits for it."""

    def __init__(self, stream: str, symbols: set[str] | None) -> None:
        self.stream, self.symbols = stream, symbols
        self.waiting: asyncio.Queue[str] = asyncio.Queue(BEHIND_MAX)
        self.behind = asyncio.Event()

    def offer(self, update: Update) -> None:
        if self.stream != update.stream or self.behind.is_set():
            return
        if self.symbols is not None and update.symbol is not None and update.symbol not in self.symbols:
            return
        try:
            self.waiting.put_nowait(update.text)
        except asyncio.QueueFull:
            self.behind.set()


class Hub:
    """Subscribes when the first client comes; goes on when Redis was away. All methods run in the event loop."""

    def __init__(self, redis_url: str, registry: CollectorRegistry, *, clients_max: int) -> None:
        self._redis_url, self._clients_max = redis_url, clients_max
        self._clients: set[Client] = set()
        self._task: asyncio.Task[None] | None = None
        self._closes: dict[str, Decimal] = {}  # last price by symbol, for the value of a position
        self._open = Gauge("platform_api_streams", "open WebSockets", registry=registry)
        self._dropped = Counter("platform_api_streams_dropped", "WebSockets too slow to be kept", registry=registry)
        self.subscribed = asyncio.Event()
        """Set while Redis delivers."""

    def join(self, client: Client) -> bool:
        """False where there are too many already."""
        if len(self._clients) >= self._clients_max:
            return False
        self._clients.add(client)
        self._open.set(len(self._clients))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())
        return True

    def leave(self, client: Client) -> None:
        self._clients.discard(client)
        self._open.set(len(self._clients))
        if client.behind.is_set():
            self._dropped.inc()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = None

    async def _listen(self) -> None:
        pause, longest = RETRY_PAUSE_S
        away = False
        while True:
            try:
                async with redis.Redis.from_url(self._redis_url, socket_connect_timeout=2.0) as client:
                    await self._remember_closes(client)
                    async with client.pubsub(ignore_subscribe_messages=True) as heard:
                        await heard.subscribe(BARS, POSITIONS, VALUATIONS)
                        if away:
                            log.warning("redis back, streams go on")
                        pause, away = RETRY_PAUSE_S[0], False
                        self.subscribed.set()
                        async for message in heard.listen():
                            self._publish(message["channel"].decode(), message["data"])
                            # What Redis sent at once must not fill the queues before anything could leave them.
                            await asyncio.sleep(0)
            except (RedisError, OSError) as error:
                self.subscribed.clear()
                if not away:
                    log.warning("redis away, streams pause", error=str(error).splitlines()[0] if str(error) else "")
                away = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    async def _remember_closes(self, client: redis.Redis) -> None:
        """Last prices of what is held: the first position update comes before the next bar."""
        names = [key async for key in client.scan_iter("latest:position:*", count=1000) if not key.endswith(b":fence")]
        symbols = [name.decode().removeprefix("latest:position:") for name in names]
        if not symbols:
            return
        for body in await client.mget([f"latest:bar:{symbol}" for symbol in symbols]):
            if body is not None:
                row = json.loads(body)
                self._closes[row["symbol"]] = Decimal(repr(row["close"]))

    def _publish(self, channel: str, body: bytes) -> None:
        try:
            update = self._shape(channel, json.loads(body))
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            # Anybody can publish in Redis; one strange message must not end all streams.
            log.warning("a message in Redis is not an update", channel=channel, error=repr(error))
            return
        for client in self._clients:
            client.offer(update)

    def _shape(self, channel: str, row: dict[str, Any]) -> Update:
        return _SHAPES[channel](row, self._closes)


def _bar(row: dict[str, Any], closes: dict[str, Decimal]) -> Update:
    symbol = str(row["symbol"])
    if symbol in closes:
        closes[symbol] = Decimal(repr(row["close"]))
    shown = {"symbol": symbol, "price": row["close"], "volume": row["volume"], "timestamp": utc(row["ts_ns"])}
    bar = {
        "open_time": utc(row["open_ns"]),
        "open": row["open"],
        "high": row["high"],
        "low": row["low"],
        "traded": row["traded"],
    }
    return Update(MARKET, symbol, _text(shown | bar))


def _position(row: dict[str, Any], closes: dict[str, Decimal]) -> Update:
    symbol, quantity = str(row["symbol"]), Decimal(row["quantity"])
    price = closes.setdefault(symbol, Decimal(row["avg_price"]))
    shown = {
        "type": "position_update",
        "symbol": symbol,
        "new_quantity": number(quantity),
        "new_value": number(quantity * price),
        "avg_price": number(Decimal(row["avg_price"])),
        "realized_pnl": number(Decimal(row["realized_pnl"])),
        "timestamp": utc(row["ts_ns"]),
    }
    return Update(PORTFOLIO, symbol, _text(shown))


def _valuation(row: dict[str, Any], closes: dict[str, Decimal]) -> Update:
    names = {"total_value": "equity", "cash_balance": "cash"}
    names |= {name: name for name in ("gross_exposure", "net_exposure", "unrealized_pnl", "realized_pnl", "fees")}
    money = {name: number(Decimal(row[field])) for name, field in names.items()}
    shown = {"type": "valuation_update", **money, "timestamp": utc(row["ts_ns"])}
    return Update(PORTFOLIO, None, _text(shown))


_SHAPES: dict[str, Callable[[dict[str, Any], dict[str, Decimal]], Update]] = {
    BARS: _bar,
    POSITIONS: _position,
    VALUATIONS: _valuation,
}


def _text(shown: dict[str, Any]) -> str:
    return json.dumps(shown, separators=(",", ":"))
