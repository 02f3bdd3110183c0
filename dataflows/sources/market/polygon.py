"""Polygon's market data (the company is called Massive now): the socket of bars, quotes and trades, and its bars by
request.

Both speak the protocol themselves, by `websockets` and `httpx`; why not by Polygon's client is in
docs/howto/polygon.md. Source: https://massive.com/docs/websocket/stocks and https://massive.com/docs/rest/stocks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
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

from dataflows.sources.market.provider import (
    MILLI_NS,
    SECOND_NS,
    QuoteUpdate,
    RowsBySymbol,
    TradePrint,
    checked_row,
    number_field,
)
from dataflows.sources.market.rest_provider import RestBarsProvider
from dataflows.sources.market.socket_provider import RECONNECT_S_MAX, RECONNECT_S_MIN, REQUEST_TIMEOUT_S, SocketProvider
from operators.bar_completion import MinuteRow
from schemas.errors import InvalidField, Unavailable

log = structlog.get_logger(__name__)
_socket_logger = logging.getLogger("polygon-socket")  # the socket's own lines would repeat ours
_socket_logger.setLevel(logging.CRITICAL)
logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request, which is one a symbol and minute

STREAM_URL = "wss://socket.massive.com/stocks"
REST_URL = "https://api.massive.com"
AGGREGATES = {1: ("A", "second"), 60: ("AM", "minute")}
"""Length of a bar in seconds -> the socket's channel, and what a request calls it."""

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
CONCURRENT_REQUESTS_MAX = 8
ROWS_PER_PAGE, PAGES_MAX = 50_000, 20
MILLISECONDS_END = 9_000_000_000_000  # the year 2255: nanoseconds must fit into 64 bits


@dataclass(frozen=True, kw_only=True)
class PolygonOptions:
    """Where from, and what. `bar_interval_s`: 60 or 1, Polygon's minute and second aggregates."""

    key: str = field(repr=False)
    symbols: tuple[str, ...]
    stream_url: str = STREAM_URL
    rest_url: str = REST_URL
    bar_interval_s: int = 60
    quotes: bool = True
    trades: bool = False
    stale_s: float = 90.0


class PolygonHistory:
    """Bars of the past by request: a request for each symbol, some at a time. Prices are not adjusted for splits."""

    def __init__(self, options: PolygonOptions) -> None:
        self._options = options
        self._interval_ms = options.bar_interval_s * 1000
        headers = {"Authorization": f"Bearer {options.key}"}
        self._client = httpx.Client(base_url=options.rest_url, headers=headers, timeout=REQUEST_TIMEOUT_S)

    def bars(self, first_open_ns: int, end_ns: int) -> dict[int, RowsBySymbol]:
        """A `FetchHistory`. Raises Unavailable where one symbol's request fails."""
        rows_by_open: dict[int, RowsBySymbol] = {}
        with ThreadPoolExecutor(min(CONCURRENT_REQUESTS_MAX, len(self._options.symbols))) as pool:
            results = pool.map(lambda symbol: self._fetch_symbol(symbol, first_open_ns, end_ns), self._options.symbols)
            for rows in results:
                for open_ns, row in rows:
                    rows_by_open.setdefault(open_ns, {})[row.symbol] = row
        return rows_by_open

    def _fetch_symbol(self, symbol: str, first_open_ns: int, end_ns: int) -> list[tuple[int, MinuteRow]]:
        timespan = AGGREGATES[self._options.bar_interval_s][1]
        first_ms, last_ms = first_open_ns // MILLI_NS, end_ns // MILLI_NS - 1
        path = f"/v2/aggs/ticker/{quote(symbol, safe='')}/range/1/{timespan}/{first_ms}/{last_ms}"
        query: Mapping[str, Any] | None = {"adjusted": "false", "sort": "asc", "limit": ROWS_PER_PAGE}
        rows: list[tuple[int, MinuteRow]] = []
        for _ in range(PAGES_MAX):
            page = self._fetch_page(path, query)
            for bar in page.get("results") or ():
                try:
                    open_ns, row = _open_ns(bar, "t", self._interval_ms), checked_row(symbol, bar)
                except InvalidField as error:
                    log.warning("a bar that cannot be one", provider="polygon", symbol=symbol, reason=str(error))
                    continue
                if first_open_ns <= open_ns < end_ns:
                    rows.append((open_ns, row))
            if not page.get("next_url"):
                return rows
            # Of the next page's address the host is left out: the key goes to the host of the settings alone.
            next_url = urlsplit(str(page["next_url"]))
            path, query = f"{next_url.path}?{next_url.query}", None
        raise Unavailable(f"its bars of {symbol} did not end within {PAGES_MAX} pages")

    def _fetch_page(self, path: str, query: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            response = self._client.get(path, params=query)
        except httpx.HTTPError as error:
            raise Unavailable(f"its request failed: {type(error).__name__}") from error
        try:
            page = response.json()
        except ValueError:
            page = None
        if response.status_code != httpx.codes.OK:
            message = page.get("error") or page.get("message") if isinstance(page, dict) else ""
            raise Unavailable(f"it answered {response.status_code}{f': {message}' if message else ''}"[:300])
        if not isinstance(page, dict) or not isinstance(page.get("results") or [], list):
            raise Unavailable("its answer is not one of bars")
        return page


class PolygonSocketProvider(SocketProvider):
    """Provider `polygon`: bars as the socket brings them. It connects again by itself, each time later."""

    def __init__(self, options: PolygonOptions, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        super().__init__(
            "polygon",
            options.symbols,
            PolygonHistory(options).bars,
            interval_ns=options.bar_interval_s * SECOND_NS,
            stale_s=options.stale_s,
            now_ns=now_ns,
        )
        self._options = options
        self._channel = AGGREGATES[options.bar_interval_s][0]
        self._connection: ClientConnection | None = None
        self._last_status = ""  # the last status that is not one of success
        self._thread = threading.Thread(target=self._run, daemon=True, name="polygon-market-data")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop_event.set()
        connection = self._connection
        if connection is not None:
            connection.close()
        if self._thread.is_alive():
            self._thread.join(3)

    # -- in the thread of the socket

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
                refusal, wait_s = f"Polygon refuses: {error}", RECONNECT_S_MAX
            except (WebSocketException, OSError) as error:
                # A time-out is an OSError too.
                log.info("the socket is away", provider=self.name, said=self._last_status, error=type(error).__name__)
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
        """Key, then bars, then the rest: what the plan does not allow of the rest is said and gone without.

        Raises _Refused where the other side does not want us, TimeoutError where it says nothing.
        """
        bars = self._subscription(self._channel)
        self._await_status(connection, "connected")
        self._send(connection, "auth", self._options.key)
        self._await_status(connection, "auth_success")
        self._send(connection, "subscribe", bars)
        self._await_status(connection, "success")
        self.on_connected()
        for enabled, channel in ((self._options.quotes, "Q"), (self._options.trades, "T")):
            if enabled:
                self._send(connection, "subscribe", self._subscription(channel))

    def _subscription(self, channel: str) -> str:
        return ",".join(f"{channel}.{symbol}" for symbol in self._options.symbols)

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
        """The events of one message; what is none is set aside."""
        try:
            events = json.loads(message)
        except ValueError:
            events = None
        if not isinstance(events, list):
            self.on_rejected("a message must be a list of events in JSON", message)
            return []
        objects = [event for event in events if isinstance(event, dict)]
        if len(objects) < len(events):
            self.on_rejected("an event must be an object", message)
        return objects

    def _handle_event(self, event: dict[str, Any]) -> None:
        kind = event.get("ev")
        try:
            if kind == self._channel:
                symbol = self._subscribed_symbol(event)
                self.on_row(_open_ns(event, "s", self._options.bar_interval_s * 1000), checked_row(symbol, event))
            elif kind == "Q":
                # A quote of one side only has no price on the other: it is none of ours.
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
            raise InvalidField(f"field sym must be a symbol that was asked for, found {symbol!r}")
        return str(symbol)

    def _note_status(self, event: Mapping[str, Any]) -> None:
        if event.get("status") in _SUCCESS_STATUSES:
            return
        # Such as: the plan has no quotes, too many connections, too slow a reader.
        status = f"{event.get('status')}: {event.get('message')}"[:300]
        if status != self._last_status:
            log.warning("Polygon says", status=status)
        self._last_status = status


class PolygonRestProvider(RestBarsProvider):
    """Provider `polygon_rest`: each minute's bars by request once it is over."""

    def __init__(self, options: PolygonOptions, retry_interval_s: float = 1.0) -> None:
        super().__init__("polygon_rest", PolygonHistory(options).bars, retry_interval_s)


_SUCCESS_STATUSES = ("connected", "auth_success", "success")


class _ConnectionRefused(Exception):
    """The other side does not want us: the key, the plan, or too many connections."""


def _open_ns(bar: Any, name: str, interval_ms: int) -> int:
    """When the bar opened, in nanoseconds. Raises InvalidField."""
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
