"""Alpaca market data: bars, quotes and trades by socket, historical bars by request."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical.crypto import CryptoHistoricalDataClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.live.crypto import CryptoDataStream
from alpaca.data.live.stock import StockDataStream
from alpaca.data.requests import CryptoBarsRequest, StockBarsRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from requests.exceptions import RequestException

from configs.settings import LiveFeedSection
from dataflows.runtime.bounded_session import BoundedSession
from dataflows.sources.market.bar_history import (
    TOO_MANY_REQUESTS,
    HistoricalBar,
    Throttled,
    historical_bars,
    retry_after_s,
)
from dataflows.sources.market.provider import (
    SECOND_NS,
    QuoteUpdate,
    RowsBySymbol,
    TradePrint,
    checked_row,
    number_field,
)
from dataflows.sources.market.rest_provider import RestBarsProvider
from dataflows.sources.market.socket_provider import RECONNECT_S_MAX, RECONNECT_S_MIN, REQUEST_TIMEOUT_S, SocketProvider
from dataflows.sources.tape.fields import content_id
from operators.bar_completion import DAY_S
from schemas.errors import InvalidField, Unavailable
from schemas.records import HALTED, TRADING, SymbolState, TradingStatus
from sinks.background_thread import BackgroundThread

log = structlog.get_logger(__name__)
logging.getLogger("alpaca.data.live.websocket").setLevel(logging.CRITICAL)  # a traceback for every attempt


@dataclass(frozen=True, kw_only=True)
class AlpacaOptions:
    """The account and the data to subscribe to. `url` replaces Alpaca's server. `feed` is iex or sip, for stocks."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    live: LiveFeedSection
    crypto: bool = False
    feed: str = "iex"
    url: str | None = None


class AlpacaHistory:
    """Historical bars by request."""

    def __init__(self, options: AlpacaOptions) -> None:
        self._options = options
        client_type: Any = CryptoHistoricalDataClient if options.crypto else StockHistoricalDataClient
        self._client: Any = client_type(options.key, options.secret, raw_data=True, url_override=options.url)
        self._client._session = BoundedSession(REQUEST_TIMEOUT_S)
        self._client._retry = 0

    def adjusted_bars(self, first_open_ns: int, end_ns: int) -> dict[int, RowsBySymbol]:
        """Fetch bars adjusted for splits, as a `FetchHistory`. Raises Unavailable."""
        return self.bars(first_open_ns, end_ns, adjustment=Adjustment.SPLIT)

    def bars(
        self, first_open_ns: int, end_ns: int, *, adjustment: Adjustment = Adjustment.RAW
    ) -> dict[int, RowsBySymbol]:
        """Fetch bars, as a `FetchHistory`. Raises Unavailable."""
        symbols = self._options.live.symbols
        rows_by_open: dict[int, RowsBySymbol] = {}
        for symbol, bars in self._request(symbols, TimeFrame.Minute, first_open_ns, end_ns, adjustment).items():
            for bar in bars:
                try:
                    open_ns, row = _time_ns(bar, "t"), checked_row(symbol, bar)
                except InvalidField as invalid:
                    log.warning("malformed bar discarded", provider="alpaca", reason=str(invalid))
                    continue
                if first_open_ns <= open_ns < end_ns:
                    rows_by_open.setdefault(open_ns, {})[symbol] = row
        return rows_by_open

    def download(self, symbol: str, interval_s: int, start_ns: int, end_ns: int) -> list[HistoricalBar]:
        """Fetch unadjusted bars, as a `HistoricalBars`. Raises Unavailable, also for a malformed bar."""
        frame = TimeFrame(1, TimeFrameUnit.Day) if interval_s == DAY_S else TimeFrame(interval_s // 60, _MINUTE_UNIT)
        bars = self._request((symbol,), frame, start_ns, end_ns, Adjustment.RAW).get(symbol, [])
        return historical_bars("Alpaca", symbol, bars, lambda bar: _time_ns(bar, "t"))

    def _request(
        self, symbols: Sequence[str], frame: TimeFrame, start_ns: int, end_ns: int, adjustment: Adjustment
    ) -> dict[str, list[Any]]:
        """Return the bars by symbol, as Alpaca sends them. Raises Unavailable."""
        request: dict[str, Any] = {
            "symbol_or_symbols": list(symbols),
            "timeframe": frame,
            "start": _to_datetime(start_ns),
            "end": _to_datetime(end_ns - 1),
        }
        try:
            if self._options.crypto:
                response = self._client.get_crypto_bars(CryptoBarsRequest(**request))
            else:
                feed = DataFeed(self._options.feed)
                response = self._client.get_stock_bars(StockBarsRequest(**request, feed=feed, adjustment=adjustment))
        except APIError as error:
            raise _api_error(error) from error
        except _MALFORMED_RESPONSE as error:
            raise Unavailable(
                f"Alpaca returned an incomplete or malformed response ({type(error).__name__})"
            ) from error
        except RequestException as error:
            raise Unavailable(f"Alpaca request failed: {type(error).__name__}") from error
        if not isinstance(response or {}, Mapping):
            raise Unavailable("Alpaca returned a response without bars by symbol")
        return {symbol: bars if isinstance(bars, list) else [] for symbol, bars in (response or {}).items()}


def _api_error(error: APIError) -> Unavailable:
    """Return an error of Alpaca's server in words. Its text is a JSON object, or that of a proxy."""
    try:
        message = str(json.loads(str(error))["message"])
    except (ValueError, TypeError, KeyError):
        message = ""
    sentence = f"Alpaca responded with status {error.status_code}{f': {message}' if message else ''}"[:300]
    if error.status_code == TOO_MANY_REQUESTS:
        response: Any = error.response
        return Throttled(sentence, retry_after_s(response.headers))
    return Unavailable(sentence)


class AlpacaSocketProvider(SocketProvider):
    """Provider `alpaca`: bars from the socket."""

    def __init__(self, options: AlpacaOptions, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        history = AlpacaHistory(options)
        super().__init__("alpaca", options.live, history.bars, now_ns=now_ns, fetch_adjusted=history.adjusted_bars)
        self._options = options
        self._stream: Any = None
        self._thread: BackgroundThread | None = None

    def start(self) -> None:
        self._stream = _build_stream(self._options, self._on_state)
        live = self._options.live
        self._stream.subscribe_bars(self._on_bar, *live.symbols)
        if live.quotes:
            self._stream.subscribe_quotes(self._on_quote, *live.symbols)
        if live.trades:
            self._stream.subscribe_trades(self._on_trade, *live.symbols)
        if self._options.feed == "sip" and not self._options.crypto:
            self._stream.subscribe_trading_statuses(self._on_status, *live.symbols)
        self._thread = BackgroundThread("alpaca-market-data", self._stream.run).start()

    def stop(self) -> None:
        self._stop_event.set()
        stream, thread = self._stream, self._thread
        if stream is not None and thread is not None:
            thread.request_stop()
            if stream._loop is not None and stream._loop.is_running():
                asyncio.run_coroutine_threadsafe(_close_socket(stream), stream._loop)
            thread.join(3)

    # -- in the socket's thread

    def _on_state(self, connected: bool) -> None:
        if connected:
            self.on_connected()
        else:
            self.on_disconnected()

    async def _on_bar(self, bar: dict[str, Any]) -> None:
        try:
            self.on_row(_time_ns(bar, "t"), checked_row(_symbol(bar), bar))
        except InvalidField as error:
            self.on_rejected(str(error), str(bar))

    async def _on_quote(self, quote: dict[str, Any]) -> None:
        try:
            self.on_quote(
                QuoteUpdate(_symbol(quote), *(number_field(quote, name) for name in ("bp", "ap", "bs", "as")))
            )
        except InvalidField as error:
            self.on_rejected(str(error), str(quote))

    async def _on_trade(self, trade: dict[str, Any]) -> None:
        try:
            size = number_field(trade, "s")
            self.on_trade(TradePrint(_symbol(trade), _time_ns(trade, "t"), number_field(trade, "p"), size))
        except InvalidField as error:
            self.on_rejected(str(error), str(trade))

    async def _on_status(self, message: dict[str, Any]) -> None:
        try:
            state = _SYMBOL_STATES.get(str(message.get("sc")))
            if state is None:
                return  # such as a price indication, which neither halts nor resumes trading
            symbol, ts_ns = _symbol(message), _time_ns(message, "t")
        except InvalidField as error:
            self.on_rejected(str(error), str(message))
            return
        status = TradingStatus(
            status_id=content_id("status", symbol, ts_ns, state),
            ts_ns=ts_ns,
            symbol=symbol,
            state=state,
            code=_text(message, "rc"),
            reason=_text(message, "rm") or _text(message, "sm"),
            source="alpaca",
        )
        self.on_status(status)


class AlpacaRestProvider(RestBarsProvider):
    """Provider `alpaca_rest`: requests each minute's bars after it ends, as a fallback for the socket."""

    def __init__(self, options: AlpacaOptions, retry_interval_s: float = 1.0) -> None:
        history = AlpacaHistory(options)
        super().__init__("alpaca_rest", history.bars, retry_interval_s, fetch_adjusted=history.adjusted_bars)


def _build_stream(alpaca_options: AlpacaOptions, on_state: Callable[[bool], None]) -> Any:
    """Build Alpaca's stream client, which reports connects and disconnects to `on_state`."""
    base_type: Any = CryptoDataStream if alpaca_options.crypto else StockDataStream

    class ReportingStream(base_type):  # type: ignore[misc]  # the base class depends on the asset class
        async def _send_subscribe_msg(self) -> None:
            await super()._send_subscribe_msg()
            on_state(True)

        async def close(self) -> None:
            on_state(False)
            await super().close()

    url = None
    if alpaca_options.url is not None:
        path = "/v1beta3/crypto/us" if alpaca_options.crypto else f"/v2/{alpaca_options.feed}"
        url = alpaca_options.url.replace("http", "ws", 1) + path
    feed_options: dict[str, Any] = {} if alpaca_options.crypto else {"feed": DataFeed(alpaca_options.feed)}
    stream = ReportingStream(alpaca_options.key, alpaca_options.secret, raw_data=True, url_override=url, **feed_options)
    stream._reconnect_min_backoff, stream._reconnect_max_backoff = RECONNECT_S_MIN, RECONNECT_S_MAX
    return stream


async def _close_socket(stream: Any) -> None:
    await stream.stop_ws()
    if stream._ws is not None:
        await stream._ws.close()  # wakes the reader, which otherwise blocks for seconds


_SYMBOL_STATES: Mapping[str, SymbolState] = {"2": HALTED, "H": HALTED, "P": HALTED, "3": TRADING, "T": TRADING}
"""Status codes that halt or resume trading: digits on the tapes A and B, letters on C and O.

Source: Alpaca, "Real-time Stock Data", trading statuses.
"""

_MINUTE_UNIT: Any = TimeFrameUnit.Minute  # typed as text by alpaca-py
_MALFORMED_RESPONSE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What alpaca-py raises for a response that is not what its server's documentation says."""


def _symbol(message: Mapping[str, Any]) -> str:
    """Return the message's symbol. Raises InvalidField."""
    symbol = message.get("S")
    if not isinstance(symbol, str) or not symbol:
        raise InvalidField(f"field S must be a symbol, found {symbol!r}"[:200])
    return symbol


def _text(message: Mapping[str, Any], name: str) -> str:
    """Return a field as one short line of text; "" without the field."""
    return " ".join(str(message.get(name) or "").replace("\0", " ").split())[:200]


def _time_ns(message: Any, name: str) -> int:
    """Return a field with msgpack's Timestamp or RFC 3339 text as nanoseconds since 1970. Raises InvalidField."""
    timestamp: Any = message.get(name) if isinstance(message, Mapping) else None
    try:
        if isinstance(timestamp, str):
            return round(datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()) * SECOND_NS
        return int(timestamp.to_unix_nano())  # None has no such method: caught below
    except (ValueError, OverflowError, AttributeError) as error:
        raise InvalidField(f"field {name} must be a time, found {timestamp!r}"[:200]) from error


def _to_datetime(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / SECOND_NS, UTC)
