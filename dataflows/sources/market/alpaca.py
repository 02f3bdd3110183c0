"""Alpaca's market data: the socket of bars, quotes and trades, and its historical bars by request."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from alpaca.common.exceptions import APIError
from alpaca.data.enums import DataFeed
from alpaca.data.historical.crypto import CryptoHistoricalDataClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.live.crypto import CryptoDataStream
from alpaca.data.live.stock import StockDataStream
from alpaca.data.requests import CryptoBarsRequest, StockBarsRequest
from alpaca.data.timeframe import TimeFrame
from requests import Response, Session
from requests.exceptions import RequestException

from dataflows.sources.market.provider import SECOND_NS, QuoteSeen, Rows, TradeSeen, checked_row, number
from dataflows.sources.market.request_provider import RequestedBars
from dataflows.sources.market.socket_provider import FIRST_WAIT_S, LONGEST_WAIT_S, REQUEST_S, SocketProvider
from schemas.errors import InvalidField, Unavailable

log = structlog.get_logger(__name__)
logging.getLogger("alpaca.data.live.websocket").setLevel(logging.CRITICAL)  # a traceback for every attempt


@dataclass(frozen=True, kw_only=True)
class AlpacaSource:
    """Where from, and what. `url`: another server that speaks the protocol. `feed`: iex or sip, for stocks."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    symbols: tuple[str, ...]
    crypto: bool = False
    feed: str = "iex"
    url: str | None = None
    quotes: bool = True
    trades: bool = False
    stale_s: float = 90.0
    bar_interval_s: int = 60


class _Session(Session):
    """Requests wait forever where nobody says how long."""

    def request(self, *arguments: Any, **options: Any) -> Response:
        options.setdefault("timeout", REQUEST_S)
        return super().request(*arguments, **options)


class AlpacaHistory:
    """Bars of the past by request."""

    def __init__(self, source: AlpacaSource) -> None:
        self._source = source
        kind: Any = CryptoHistoricalDataClient if source.crypto else StockHistoricalDataClient
        self._client: Any = kind(source.key, source.secret, raw_data=True, url_override=source.url)
        self._client._session = _Session()
        self._client._retry = 0

    def bars(self, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
        """A `Past`. Raises Unavailable."""
        asked = {
            "symbol_or_symbols": list(self._source.symbols),
            "timeframe": TimeFrame.Minute,
            "start": _time(first_open_ns),
            "end": _time(end_ns - 1),
        }
        try:
            if self._source.crypto:
                found = self._client.get_crypto_bars(CryptoBarsRequest(**asked))
            else:
                found = self._client.get_stock_bars(StockBarsRequest(**asked, feed=DataFeed(self._source.feed)))
        except (APIError, RequestException, ValueError) as error:
            raise Unavailable(f"its request failed: {type(error).__name__}") from error
        out: dict[int, Rows] = {}
        for symbol, bars in (found or {}).items():
            for bar in bars or ():
                try:
                    row = checked_row(symbol, bar)
                except InvalidField as bad:
                    log.warning("a bar that cannot be one", provider="alpaca", reason=str(bad))
                    continue
                opened = _nanoseconds(bar["t"])
                if first_open_ns <= opened < end_ns:
                    out.setdefault(opened, {})[symbol] = row
        return out


class AlpacaSocket(SocketProvider):
    """Provider `alpaca`: bars as the socket brings them."""

    def __init__(self, source: AlpacaSource, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        super().__init__(
            "alpaca",
            source.symbols,
            AlpacaHistory(source).bars,
            interval_ns=source.bar_interval_s * SECOND_NS,
            stale_s=source.stale_s,
            now_ns=now_ns,
        )
        self._source = source
        self._stream: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stream = _stream(self._source, self._on_state)
        self._stream.subscribe_bars(self._on_bar, *self._source.symbols)
        if self._source.quotes:
            self._stream.subscribe_quotes(self._on_quote, *self._source.symbols)
        if self._source.trades:
            self._stream.subscribe_trades(self._on_trade, *self._source.symbols)
        self._thread = threading.Thread(target=self._stream.run, daemon=True, name="alpaca-market-data")
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        stream, thread = self._stream, self._thread
        if stream is not None and thread is not None:
            if stream._loop is not None and stream._loop.is_running():
                asyncio.run_coroutine_threadsafe(_leave(stream), stream._loop)
            thread.join(3)

    # -- in the thread of the socket

    def _on_state(self, connected: bool) -> None:
        if connected:
            self.on_listening()
        else:
            self.on_cut()

    async def _on_bar(self, bar: dict[str, Any]) -> None:
        try:
            self.on_row(_nanoseconds(bar["t"]), checked_row(str(bar["S"]), bar))
        except InvalidField as bad:
            self.on_bad(str(bad), str(bar))

    async def _on_quote(self, quote: dict[str, Any]) -> None:
        try:
            self.on_quote(QuoteSeen(str(quote["S"]), *(number(quote, name) for name in ("bp", "ap", "bs", "as"))))
        except InvalidField as bad:
            self.on_bad(str(bad), str(quote))

    async def _on_trade(self, trade: dict[str, Any]) -> None:
        try:
            size = number(trade, "s")
            self.on_trade(TradeSeen(str(trade["S"]), _nanoseconds(trade["t"]), number(trade, "p"), size))
        except InvalidField as bad:
            self.on_bad(str(bad), str(trade))


class AlpacaRequests(RequestedBars):
    """Provider `alpaca_rest`: each minute's bars by request once it is over, for when the socket is away."""

    def __init__(self, source: AlpacaSource, every_s: float = 1.0) -> None:
        super().__init__("alpaca_rest", AlpacaHistory(source).bars, every_s)


def _stream(source: AlpacaSource, on_state: Callable[[bool], None]) -> Any:
    """Alpaca's client, telling when it listens and when it does not."""
    base: Any = CryptoDataStream if source.crypto else StockDataStream

    class Told(base):  # type: ignore[misc]
        async def _send_subscribe_msg(self) -> None:
            await super()._send_subscribe_msg()
            on_state(True)

        async def close(self) -> None:
            on_state(False)
            await super().close()

    url = None
    if source.url is not None:
        path = "/v1beta3/crypto/us" if source.crypto else f"/v2/{source.feed}"
        url = source.url.replace("http", "ws", 1) + path
    options: dict[str, Any] = {} if source.crypto else {"feed": DataFeed(source.feed)}
    stream = Told(source.key, source.secret, raw_data=True, url_override=url, **options)
    stream._reconnect_min_backoff, stream._reconnect_max_backoff = FIRST_WAIT_S, LONGEST_WAIT_S
    return stream


async def _leave(stream: Any) -> None:
    await stream.stop_ws()
    if stream._ws is not None:
        await stream._ws.close()  # wakes the reader, which would wait for seconds


def _nanoseconds(moment: Any) -> int:
    """Of msgpack's Timestamp, or of RFC 3339 text."""
    if isinstance(moment, str):
        return round(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()) * SECOND_NS
    return int(moment.to_unix_nano())


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / SECOND_NS, UTC)
