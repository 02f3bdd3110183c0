"""Polygon market data (the company is now called Massive): socket for bars, quotes and trades, and historical bars.

Both use the protocol directly, with `websockets` and `httpx`; docs/howto/polygon.md explains why not Polygon's client.
Sources: https://massive.com/docs/websocket/stocks and https://massive.com/docs/rest/stocks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import structlog
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from configs.settings import LiveFeedSection
from dataflows.sources.market.bar_history import (
    TOO_MANY_REQUESTS,
    HistoricalBar,
    Throttled,
    historical_bars,
    retry_after_s,
)
from dataflows.sources.market.provider import (
    MILLI_NS,
    QuoteUpdate,
    RowsBySymbol,
    TradePrint,
    checked_row,
    number_field,
)
from dataflows.sources.market.rest_provider import RestBarsProvider
from dataflows.sources.market.socket_provider import RECONNECT_S_MAX, RECONNECT_S_MIN, REQUEST_TIMEOUT_S, SocketProvider
from operators.bar_completion import DAY_S, MinuteRow
from schemas.errors import InvalidField, Unavailable
from sinks.background_thread import BackgroundThread

log = structlog.get_logger(__name__)
_socket_logger = logging.getLogger("polygon-socket")  # its lines would repeat those of this module
_socket_logger.setLevel(logging.CRITICAL)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request: one per symbol and minute

STREAM_URL = "wss://socket.massive.com/stocks"
REST_URL = "https://api.massive.com"
AGGREGATES = {1: ("A", "second"), 60: ("AM", "minute")}
"""Bar interval in seconds -> the socket's channel and the REST timespan."""

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
CONCURRENT_REQUESTS_MAX = 8
ROWS_PER_PAGE, PAGES_MAX = 50_000, 20
MILLISECONDS_END = 9_000_000_000_000  # the year 2255: nanoseconds must fit into 64 bits


@dataclass(frozen=True, kw_only=True)
class PolygonOptions:
    """The key, the URLs and what to subscribe to. The bar interval is 60 or 1 s, for Polygon's minute and second
    aggregates.
    """

    key: str = field(repr=False)
    live: LiveFeedSection
    stream_url: str = STREAM_URL
    rest_url: str = REST_URL


class PolygonHistory:
    """Historical bars, one request per symbol, several at a time."""

    def __init__(self, options: PolygonOptions) -> None:
        self._options = options
        self._interval_ms = options.live.bar_interval_s * 1000
        headers = {"Authorization": f"Bearer {options.key}"}
        self._client = httpx.Client(base_url=options.rest_url, headers=headers, timeout=REQUEST_TIMEOUT_S)

    def adjusted_bars(self, first_open_ns: int, end_ns: int) -> dict[int, RowsBySymbol]:
        """Fetch bars adjusted for splits, as a `FetchHistory`. Raises Unavailable if any symbol's request fails."""
        return self.bars(first_open_ns, end_ns, adjusted=True)

    def bars(self, first_open_ns: int, end_ns: int, *, adjusted: bool = False) -> dict[int, RowsBySymbol]:
        """Fetch bars, as a `FetchHistory`. Raises Unavailable if any symbol's request fails."""
        rows_by_open: dict[int, RowsBySymbol] = {}
        with ThreadPoolExecutor(min(CONCURRENT_REQUESTS_MAX, len(self._options.live.symbols))) as pool:
            results = pool.map(
                lambda symbol: self._fetch_symbol(symbol, first_open_ns, end_ns, adjusted=adjusted),
                self._options.live.symbols,
            )
            for rows in results:
                for open_ns, row in rows:
                    rows_by_open.setdefault(open_ns, {})[row.symbol] = row
        return rows_by_open

    def _fetch_symbol(
        self, symbol: str, first_open_ns: int, end_ns: int, *, adjusted: bool
    ) -> list[tuple[int, MinuteRow]]:
        timespan = AGGREGATES[self._options.live.bar_interval_s][1]
        rows: list[tuple[int, MinuteRow]] = []
        for bar in self._bars(symbol, f"1/{timespan}", first_open_ns, end_ns, adjusted=adjusted):
            try:
                open_ns, row = _open_ns(bar, "t", self._interval_ms), checked_row(symbol, bar)
            except InvalidField as error:
                log.warning("malformed bar discarded", provider="polygon", symbol=symbol, reason=str(error))
                continue
            if first_open_ns <= open_ns < end_ns:
                rows.append((open_ns, row))
        return rows

    def download(self, symbol: str, interval_s: int, start_ns: int, end_ns: int) -> list[HistoricalBar]:
        """Fetch unadjusted bars, as a `HistoricalBars`. Raises Unavailable, also for a malformed bar."""
        span = "1/day" if interval_s == DAY_S else f"{interval_s // 60}/minute"
        bars = self._bars(symbol, span, start_ns, end_ns, adjusted=False)
        return historical_bars("Polygon", symbol, bars, lambda bar: _open_ns(bar, "t", 1))

    def _bars(self, symbol: str, span: str, start_ns: int, end_ns: int, *, adjusted: bool) -> Iterator[Any]:
        """Yield the bars of all pages, as Polygon sends them. `span` is multiplier and timespan. Raises Unavailable."""
        first_ms, last_ms = start_ns // MILLI_NS, end_ns // MILLI_NS - 1
        path = f"/v2/aggs/ticker/{quote(symbol, safe='')}/range/{span}/{first_ms}/{last_ms}"
        query: Mapping[str, Any] | None = {"adjusted": str(adjusted).lower(), "sort": "asc", "limit": ROWS_PER_PAGE}
        for _ in range(PAGES_MAX):
            page = self._fetch_page(path, query)
            yield from page.get("results") or ()
            if not page.get("next_url"):
                return
            # Only the path and query of the next page are used, so that the key goes only to the configured host.
            next_url = urlsplit(str(page["next_url"]))
            path, query = f"{next_url.path}?{next_url.query}", None
        raise Unavailable(f"Polygon returned more than {PAGES_MAX} pages of bars of {symbol}")

    def _fetch_page(self, path: str, query: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            response = self._client.get(path, params=query)
        except httpx.HTTPError as error:
            raise Unavailable(f"Polygon request failed: {type(error).__name__}") from error
        try:
            page = response.json()
        except ValueError:
            page = None
        if response.status_code != httpx.codes.OK:
            message = page.get("error") or page.get("message") if isinstance(page, dict) else ""
            sentence = f"Polygon responded with status {response.status_code}{f': {message}' if message else ''}"[:300]
            if response.status_code == TOO_MANY_REQUESTS:
                raise Throttled(sentence, retry_after_s(response.headers))
            raise Unavailable(sentence)
        if not isinstance(page, dict) or not isinstance(page.get("results") or [], list):
            raise Unavailable("Polygon returned an incomplete or malformed response, without a list of bars")
        found, expected = len(page.get("results") or []), page.get("resultsCount")
        if isinstance(expected, int) and expected != found:
            raise Unavailable(f"Polygon returned an incomplete page: {found} of {expected} bars")
        return page


class PolygonSocketProvider(SocketProvider):
    """Provider `polygon`: bars from the socket. It reconnects automatically, with backoff."""

    def __init__(self, options: PolygonOptions, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        history = PolygonHistory(options)
        super().__init__("polygon", options.live, history.bars, now_ns=now_ns, fetch_adjusted=history.adjusted_bars)
        self._options = options
        self._channel = AGGREGATES[options.live.bar_interval_s][0]
        self._connection: ClientConnection | None = None
        self._last_status = ""  # the last status other than success
        self._thread = BackgroundThread("polygon-market-data", self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop_event.set()
        self._thread.request_stop()
        connection = self._connection
        if connection is not None:
            connection.close()
        self._thread.join(3)

    # -- in the socket's thread

    def _run(self) -> None:
        wait_s = RECONNECT_S_MIN
        while not self._stop_event.is_set():
            refusal = ""
            try:
                with self._connect() as connection:
                    self._sign_in(connection)
                    wait_s = RECONNECT_S_MIN
                    while not self._stop_event.is_set():
                        for event in self._parse_events(connection.recv()):
                            self._handle_event(event)
            except _ConnectionRefused as error:
                refusal, wait_s = f"Polygon rejected the connection: {error}", RECONNECT_S_MAX
            except (WebSocketException, OSError) as error:
                # TimeoutError is an OSError.
                log.info(
                    "socket disconnected", provider=self.name, status=self._last_status, error=type(error).__name__
                )
            self.on_disconnected(refusal)
            self._stop_event.wait(wait_s)
            wait_s = min(2 * wait_s, RECONNECT_S_MAX)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[ClientConnection]:
        self._last_status = ""
        with connect(
            self._options.stream_url,
            open_timeout=REQUEST_TIMEOUT_S,
            close_timeout=1,
            max_size=MESSAGE_BYTES_MAX,
            logger=_socket_logger,
        ) as connection:
            self._connection = connection
            try:
                yield connection
            finally:
                self._connection = None

    def _sign_in(self, connection: ClientConnection) -> None:
        """Authenticate, then subscribe to bars and the rest. Quotes or trades that the plan does not include are logged
        and skipped.

        Raises _ConnectionRefused if the server rejects the connection and TimeoutError if it does not respond.
        """
        bars = self._subscription(self._channel)
        self._await_status(connection, "connected")
        self._send(connection, "auth", self._options.key)
        self._await_status(connection, "auth_success")
        self._send(connection, "subscribe", bars)
        self._await_status(connection, "success")
        self.on_connected()
        for enabled, channel in ((self._options.live.quotes, "Q"), (self._options.live.trades, "T")):
            if enabled:
                self._send(connection, "subscribe", self._subscription(channel))

    def _subscription(self, channel: str) -> str:
        return ",".join(f"{channel}.{symbol}" for symbol in self._options.live.symbols)

    def _send(self, connection: ClientConnection, action: str, params: str) -> None:
        connection.send(json.dumps({"action": action, "params": params}))

    def _await_status(self, connection: ClientConnection, status: str) -> None:
        deadline = time.monotonic() + REQUEST_TIMEOUT_S
        reached = False
        while not reached:
            for event in self._parse_events(connection.recv(timeout=max(0.0, deadline - time.monotonic()))):
                if event.get("ev") != "status" or reached:
                    self._handle_event(event)
                elif event.get("status") == status:
                    reached = True
                elif event.get("status") not in _SUCCESS_STATUSES:
                    raise _ConnectionRefused(f"{event.get('status')}: {event.get('message')}"[:300])

    def _parse_events(self, message: str | bytes) -> list[dict[str, Any]]:
        """Return the events of one message; malformed events are rejected."""
        try:
            events = json.loads(message)
        except ValueError:
            events = None
        if not isinstance(events, list):
            self.on_rejected("the message must be a JSON list of events", message)
            return []
        objects = [event for event in events if isinstance(event, dict)]
        if len(objects) < len(events):
            self.on_rejected("every event must be a JSON object", message)
        return objects

    def _handle_event(self, event: dict[str, Any]) -> None:
        kind = event.get("ev")
        try:
            if kind == self._channel:
                symbol = self._subscribed_symbol(event)
                self.on_row(_open_ns(event, "s", self._options.live.bar_interval_s * 1000), checked_row(symbol, event))
            elif kind == "Q":
                # A quote of one side has no price on the other and is ignored.
                if "bp" in event and "ap" in event:
                    values = (number_field(event, name) for name in ("bp", "ap", "bs", "as"))
                    self.on_quote(QuoteUpdate(self._subscribed_symbol(event), *values))
            elif kind == "T":
                price, size = number_field(event, "p"), number_field(event, "s")
                if not (0.0 < price < float("inf") and 0.0 <= size < float("inf")):
                    raise InvalidField(f"a trade needs p > 0 and s >= 0, found {price} and {size}")
                self.on_trade(
                    TradePrint(self._subscribed_symbol(event), _milliseconds(event, "t") * MILLI_NS, price, size)
                )
            elif kind == "status":
                self._note_status(event)
            else:
                raise InvalidField(f"field ev must be {self._channel}, Q, T or status, found {kind!r}")
        except InvalidField as error:
            self.on_rejected(str(error), json.dumps(event))

    def _subscribed_symbol(self, event: Mapping[str, Any]) -> str:
        symbol = event.get("sym")
        if symbol not in self._symbols:
            raise InvalidField(f"field sym must be a subscribed symbol, found {symbol!r}")
        return str(symbol)

    def _note_status(self, event: Mapping[str, Any]) -> None:
        if event.get("status") in _SUCCESS_STATUSES:
            return
        # For example: the plan has no quotes, too many connections, a slow reader.
        status = f"{event.get('status')}: {event.get('message')}"[:300]
        if status != self._last_status:
            log.warning("Polygon status changed", status=status)
        self._last_status = status


class PolygonRestProvider(RestBarsProvider):
    """Provider `polygon_rest`: requests each minute's bars after it ends."""

    def __init__(self, options: PolygonOptions, retry_interval_s: float = 1.0) -> None:
        history = PolygonHistory(options)
        super().__init__("polygon_rest", history.bars, retry_interval_s, fetch_adjusted=history.adjusted_bars)


_SUCCESS_STATUSES = ("connected", "auth_success", "success")


class _ConnectionRefused(Exception):
    """The server rejected the connection because of the key, the plan or too many connections."""


def _open_ns(bar: Any, name: str, interval_ms: int) -> int:
    """Return the bar's open in nanoseconds. Raises InvalidField."""
    if not isinstance(bar, Mapping):
        raise InvalidField(f"a bar must be an object, found {str(bar)[:100]!r}")
    milliseconds = _milliseconds(bar, name)
    if milliseconds % interval_ms:
        raise InvalidField(f"field {name} must be a multiple of {interval_ms} ms, found {milliseconds}")
    return milliseconds * MILLI_NS


def _milliseconds(event: Mapping[str, Any], name: str) -> int:
    milliseconds = event.get(name)
    if type(milliseconds) is not int or not 0 <= milliseconds < MILLISECONDS_END:
        raise InvalidField(f"field {name} must be milliseconds since 1970, found {milliseconds!r}"[:200])
    return milliseconds
