"""Alpaca's market data: the socket of bars, quotes and trades, and its historical bars by request."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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

from dataflows.sources.market.provider import QuoteSeen, Rows, TradeSeen
from operators.minutes import Minute, MinuteRow
from schemas.records import CONTINUOUS, REGULAR

log = structlog.get_logger(__name__)
logging.getLogger("alpaca.data.live.websocket").setLevel(logging.CRITICAL)  # a traceback for every attempt

SECOND_NS = 1_000_000_000
MINUTES_KEPT = 10
TRADES_WAITING_MAX = 100_000
FIRST_WAIT_S, LONGEST_WAIT_S, REQUEST_S = 0.25, 15.0, 10.0


@dataclass(frozen=True, kw_only=True)
class AlpacaSource:
    """Where from, and what. `url`: another server that speaks the protocol. `feed`: iex or sip, for stocks."""

    key: str
    secret: str
    symbols: tuple[str, ...]
    crypto: bool = False
    feed: str = "iex"
    url: str | None = None
    quotes: bool = True
    trades: bool = False
    stale_s: float = 90.0


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
        """By their open in [first_open_ns, end_ns). Raises APIError and RequestException."""
        asked = {
            "symbol_or_symbols": list(self._source.symbols),
            "timeframe": TimeFrame.Minute,
            "start": _time(first_open_ns),
            "end": _time(end_ns - 1),
        }
        if self._source.crypto:
            found = self._client.get_crypto_bars(CryptoBarsRequest(**asked))
        else:
            found = self._client.get_stock_bars(StockBarsRequest(**asked, feed=DataFeed(self._source.feed)))
        out: dict[int, Rows] = {}
        for symbol, bars in (found or {}).items():
            for bar in bars or ():
                row = _row(symbol, bar)
                opened = _nanoseconds(bar["t"])
                if row is not None and first_open_ns <= opened < end_ns:
                    out.setdefault(opened, {})[symbol] = row
        return out


class AlpacaSocket:
    """Provider `alpaca`: bars as the socket brings them."""

    name = "alpaca"

    def __init__(self, source: AlpacaSource, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._source, self._now_ns = source, now_ns
        self._history = AlpacaHistory(source)
        self._lock = threading.Lock()
        self._rows: dict[int, Rows] = {}
        self._quotes: dict[str, QuoteSeen] = {}
        self._trades: deque[TradeSeen] = deque(maxlen=TRADES_WAITING_MAX)
        self._connected = False
        self._changed_ns = now_ns()  # when it was connected or cut
        self._heard_ns = 0
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
        stream, thread = self._stream, self._thread
        if stream is not None and thread is not None:
            if stream._loop is not None and stream._loop.is_running():
                asyncio.run_coroutine_threadsafe(_leave(stream), stream._loop)
            thread.join(3)

    def unwell(self, minute: Minute, now_ns: int) -> str:
        with self._lock:
            if not self._connected:
                away_s = (now_ns - self._changed_ns) / SECOND_NS
                return f"the socket has been away for {away_s:.0f} s" if away_s > 1 else "the socket is away"
            quiet_s = (now_ns - max(self._heard_ns, self._changed_ns)) / SECOND_NS
        if minute.session in (REGULAR, CONTINUOUS) and quiet_s > self._source.stale_s:
            return f"it has said nothing for {quiet_s:.0f} s"
        return ""

    def rows(self, minute: Minute) -> Rows:
        with self._lock:
            return dict(self._rows.get(minute.open_ns, {}))

    def seen(self) -> tuple[list[QuoteSeen], list[TradeSeen]]:
        with self._lock:
            quotes, self._quotes = list(self._quotes.values()), {}
            trades = list(self._trades)
            self._trades.clear()
        return quotes, trades

    def history(self, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
        return _history(self._history, first_open_ns, end_ns)

    # -- in the thread of the socket

    def _on_state(self, connected: bool) -> None:
        with self._lock:
            if connected != self._connected:
                self._connected, self._changed_ns = connected, self._now_ns()

    async def _on_bar(self, bar: dict[str, Any]) -> None:
        row = _row(str(bar["S"]), bar)
        with self._lock:
            self._heard_ns = self._now_ns()
            if row is not None:
                self._rows.setdefault(_nanoseconds(bar["t"]), {})[row.symbol] = row
                while len(self._rows) > MINUTES_KEPT:
                    del self._rows[min(self._rows)]

    async def _on_quote(self, quote: dict[str, Any]) -> None:
        seen = QuoteSeen(str(quote["S"]), *(float(quote[name]) for name in ("bp", "ap", "bs", "as")))
        with self._lock:
            self._heard_ns = self._now_ns()
            self._quotes[seen.symbol] = seen

    async def _on_trade(self, trade: dict[str, Any]) -> None:
        seen = TradeSeen(str(trade["S"]), _nanoseconds(trade["t"]), float(trade["p"]), float(trade["s"]))
        with self._lock:
            self._heard_ns = self._now_ns()
            self._trades.append(seen)


class AlpacaRequests:
    """Provider `alpaca_rest`: each minute's bars by request once it is over, for when the socket is away."""

    name = "alpaca_rest"

    def __init__(self, source: AlpacaSource) -> None:
        self._history = AlpacaHistory(source)
        self._lock = threading.Lock()
        self._rows: dict[int, Rows] = {}
        self._asking = False
        self._asked_s = 0.0
        self._failed = ""

    def start(self) -> None:
        """It asks when it is asked."""

    def stop(self) -> None:
        """A request under way ends by itself."""

    def unwell(self, minute: Minute, now_ns: int) -> str:
        self.rows(minute)
        with self._lock:
            return "" if minute.open_ns in self._rows else self._failed or "no answer yet"

    def rows(self, minute: Minute) -> Rows:
        with self._lock:
            found = self._rows.get(minute.open_ns)
            # Asked again within the wait: a bar may be a moment late.
            if not self._asking and time.monotonic() - self._asked_s > 1.0:
                self._asking, self._asked_s = True, time.monotonic()
                threading.Thread(target=self._ask, args=(minute,), daemon=True, name="alpaca-bars").start()
        return dict(found or {})

    def seen(self) -> tuple[list[QuoteSeen], list[TradeSeen]]:
        return [], []

    def history(self, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
        return _history(self._history, first_open_ns, end_ns)

    def _ask(self, minute: Minute) -> None:
        found: Rows | None = None
        failed = ""
        try:
            found = self._history.bars(minute.open_ns, minute.ts_ns).get(minute.open_ns, {})
        except (APIError, RequestException, ValueError) as error:
            failed = f"its request failed: {type(error).__name__}"
        with self._lock:
            self._asking, self._failed = False, failed
            if found is not None:
                self._rows[minute.open_ns] = found
                while len(self._rows) > MINUTES_KEPT:
                    del self._rows[min(self._rows)]


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


def _history(history: AlpacaHistory, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
    try:
        return history.bars(first_open_ns, end_ns)
    except (APIError, RequestException, ValueError) as error:
        log.warning("no bars of the past", error=type(error).__name__)
        return {}


def _row(symbol: str, bar: dict[str, Any]) -> MinuteRow | None:
    """None for numbers that cannot be a bar's."""
    first, high, low, close, volume = (float(bar[name]) for name in ("o", "h", "l", "c", "v"))
    if not (0.0 < low <= first <= high and low <= close <= high < float("inf") and 0.0 <= volume < float("inf")):
        log.warning("a bar that cannot be one", symbol=symbol, bar=str(bar)[:200])
        return None
    return MinuteRow(symbol, first, high, low, close, volume)


def _nanoseconds(moment: Any) -> int:
    """Of msgpack's Timestamp, or of RFC 3339 text."""
    if isinstance(moment, str):
        return round(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()) * SECOND_NS
    return int(moment.to_unix_nano())


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / SECOND_NS, UTC)
