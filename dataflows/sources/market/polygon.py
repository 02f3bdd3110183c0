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
    QuoteSeen,
    Rows,
    TradeSeen,
    checked_row,
    number,
)
from dataflows.sources.market.request_provider import RequestedBars
from dataflows.sources.market.socket_provider import FIRST_WAIT_S, LONGEST_WAIT_S, REQUEST_S, SocketProvider
from operators.bar_completion import MinuteRow
from schemas.errors import InvalidField, Unavailable

log = structlog.get_logger(__name__)
_quiet = logging.getLogger("polygon-socket")  # the socket's own lines would repeat ours
_quiet.setLevel(logging.CRITICAL)
logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request, which is one a symbol and minute

STREAM_URL = "wss://socket.massive.com/stocks"
REST_URL = "https://api.massive.com"
SPANS = {1: ("A", "second"), 60: ("AM", "minute")}
"""Length of a bar in seconds -> the socket's channel, and what a request calls it."""

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
REQUESTS_AT_ONCE = 8
ROWS_A_PAGE, PAGES_MAX = 50_000, 20
MILLISECONDS_END = 9_000_000_000_000  # the year 2255: nanoseconds must fit into 64 bits


@dataclass(frozen=True, kw_only=True)
class PolygonSource:
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

    def __init__(self, source: PolygonSource) -> None:
        self._source = source
        self._interval_ms = source.bar_interval_s * 1000
        headers = {"Authorization": f"Bearer {source.key}"}
        self._client = httpx.Client(base_url=source.rest_url, headers=headers, timeout=REQUEST_S)

    def bars(self, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
        """A `Past`. Raises Unavailable where one symbol's request fails."""
        out: dict[int, Rows] = {}
        with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(self._source.symbols))) as pool:
            asked = pool.map(lambda symbol: self._of(symbol, first_open_ns, end_ns), self._source.symbols)
            for rows in asked:
                for opened, row in rows:
                    out.setdefault(opened, {})[row.symbol] = row
        return out

    def _of(self, symbol: str, first_open_ns: int, end_ns: int) -> list[tuple[int, MinuteRow]]:
        span = SPANS[self._source.bar_interval_s][1]
        first_ms, last_ms = first_open_ns // MILLI_NS, end_ns // MILLI_NS - 1
        path = f"/v2/aggs/ticker/{quote(symbol, safe='')}/range/1/{span}/{first_ms}/{last_ms}"
        asked: Mapping[str, Any] | None = {"adjusted": "false", "sort": "asc", "limit": ROWS_A_PAGE}
        found: list[tuple[int, MinuteRow]] = []
        for _ in range(PAGES_MAX):
            page = self._page(path, asked)
            for bar in page.get("results") or ():
                try:
                    opened, row = _opened(bar, "t", self._interval_ms), checked_row(symbol, bar)
                except InvalidField as bad:
                    log.warning("a bar that cannot be one", provider="polygon", symbol=symbol, reason=str(bad))
                    continue
                if first_open_ns <= opened < end_ns:
                    found.append((opened, row))
            if not page.get("next_url"):
                return found
            # Of the next page's address the host is left out: the key goes to the host of the settings alone.
            after = urlsplit(str(page["next_url"]))
            path, asked = f"{after.path}?{after.query}", None
        raise Unavailable(f"its bars of {symbol} did not end within {PAGES_MAX} pages")

    def _page(self, path: str, asked: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            answer = self._client.get(path, params=asked)
        except httpx.HTTPError as error:
            raise Unavailable(f"its request failed: {type(error).__name__}") from error
        try:
            page = answer.json()
        except ValueError:
            page = None
        if answer.status_code != httpx.codes.OK:
            said = page.get("error") or page.get("message") if isinstance(page, dict) else ""
            raise Unavailable(f"it answered {answer.status_code}{f': {said}' if said else ''}"[:300])
        if not isinstance(page, dict) or not isinstance(page.get("results") or [], list):
            raise Unavailable("its answer is not one of bars")
        return page


class PolygonSocket(SocketProvider):
    """Provider `polygon`: bars as the socket brings them. It connects again by itself, each time later."""

    def __init__(self, source: PolygonSource, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        super().__init__(
            "polygon",
            source.symbols,
            PolygonHistory(source).bars,
            interval_ns=source.bar_interval_s * SECOND_NS,
            stale_s=source.stale_s,
            now_ns=now_ns,
        )
        self._source = source
        self._channel = SPANS[source.bar_interval_s][0]
        self._connection: ClientConnection | None = None
        self._said = ""  # the last status that is not one of success
        self._thread = threading.Thread(target=self._run, daemon=True, name="polygon-market-data")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        connection = self._connection
        if connection is not None:
            connection.close()
        if self._thread.is_alive():
            self._thread.join(3)

    # -- in the thread of the socket

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._ended.is_set():
            refused = ""
            try:
                with self._connected() as connection:
                    self._sign_in(connection)
                    wait_s = FIRST_WAIT_S
                    while not self._ended.is_set():
                        for event in self._events(connection.recv()):
                            self._take(event)
            except _Refused as error:
                refused, wait_s = f"Polygon refuses: {error}", LONGEST_WAIT_S
            except (WebSocketException, OSError) as error:
                # A time-out is an OSError too.
                log.info("the socket is away", provider=self.name, said=self._said, error=type(error).__name__)
            self.on_cut(refused)
            self._ended.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[ClientConnection]:
        self._said = ""
        with connect(
            self._source.stream_url,
            open_timeout=REQUEST_S,
            close_timeout=1,
            max_size=MESSAGE_BYTES_MAX,
            logger=_quiet,
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
        bars = self._channels(self._channel)
        self._await(connection, "connected")
        self._send(connection, "auth", self._source.key)
        self._await(connection, "auth_success")
        self._send(connection, "subscribe", bars)
        self._await(connection, "success")
        self.on_listening()
        for wanted, channel in ((self._source.quotes, "Q"), (self._source.trades, "T")):
            if wanted:
                self._send(connection, "subscribe", self._channels(channel))

    def _channels(self, channel: str) -> str:
        return ",".join(f"{channel}.{symbol}" for symbol in self._source.symbols)

    def _send(self, connection: ClientConnection, action: str, what: str) -> None:
        connection.send(json.dumps({"action": action, "params": what}))

    def _await(self, connection: ClientConnection, status: str) -> None:
        deadline = time.monotonic() + REQUEST_S
        reached = False
        while not reached:
            for event in self._events(connection.recv(timeout=max(0.0, deadline - time.monotonic()))):
                if event.get("ev") != "status" or reached:
                    self._take(event)
                elif event.get("status") == status:
                    reached = True
                elif event.get("status") not in _FINE:
                    raise _Refused(f"{event.get('status')}: {event.get('message')}"[:300])

    def _events(self, message: str | bytes) -> list[dict[str, Any]]:
        """The events of one message; what is none is set aside."""
        try:
            events = json.loads(message)
        except ValueError:
            events = None
        if not isinstance(events, list):
            self.on_bad("a message must be a list of events in JSON", message)
            return []
        found = [event for event in events if isinstance(event, dict)]
        if len(found) < len(events):
            self.on_bad("an event must be an object", message)
        return found

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("ev")
        try:
            if kind == self._channel:
                symbol = self._symbol(event)
                self.on_row(_opened(event, "s", self._source.bar_interval_s * 1000), checked_row(symbol, event))
            elif kind == "Q":
                # A quote of one side only has no price on the other: it is none of ours.
                if "bp" in event and "ap" in event:
                    values = (number(event, name) for name in ("bp", "ap", "bs", "as"))
                    self.on_quote(QuoteSeen(self._symbol(event), *values))
            elif kind == "T":
                price, size = number(event, "p"), number(event, "s")
                if not (0.0 < price < float("inf") and 0.0 <= size < float("inf")):
                    raise InvalidField(f"a trade needs p > 0 and s >= 0, found {price} and {size}")
                self.on_trade(TradeSeen(self._symbol(event), _milliseconds(event, "t") * MILLI_NS, price, size))
            elif kind == "status":
                self._note(event)
            else:
                raise InvalidField(f"field ev must be {self._channel}, Q, T or status, found {kind!r}")
        except InvalidField as bad:
            self.on_bad(str(bad), json.dumps(event))

    def _symbol(self, event: Mapping[str, Any]) -> str:
        found = event.get("sym")
        if found not in self._symbols:
            raise InvalidField(f"field sym must be a symbol that was asked for, found {found!r}")
        return str(found)

    def _note(self, event: Mapping[str, Any]) -> None:
        if event.get("status") in _FINE:
            return
        # Such as: the plan has no quotes, too many connections, too slow a reader.
        said = f"{event.get('status')}: {event.get('message')}"[:300]
        if said != self._said:
            log.warning("Polygon says", status=said)
        self._said = said


class PolygonRequests(RequestedBars):
    """Provider `polygon_rest`: each minute's bars by request once it is over."""

    def __init__(self, source: PolygonSource, every_s: float = 1.0) -> None:
        super().__init__("polygon_rest", PolygonHistory(source).bars, every_s)


_FINE = ("connected", "auth_success", "success")


class _Refused(Exception):
    """The other side does not want us: the key, the plan, or too many connections."""


def _opened(bar: Any, name: str, interval_ms: int) -> int:
    """When the bar opened, in nanoseconds. Raises InvalidField."""
    if not isinstance(bar, Mapping):
        raise InvalidField(f"a bar must be an object, found {str(bar)[:100]!r}")
    found = _milliseconds(bar, name)
    if found % interval_ms:
        raise InvalidField(f"field {name} must be a multiple of {interval_ms} ms, found {found}")
    return found * MILLI_NS


def _milliseconds(event: Mapping[str, Any], name: str) -> int:
    found = event.get(name)
    if type(found) is not int or not 0 <= found < MILLISECONDS_END:
        raise InvalidField(f"field {name} must be milliseconds since 1970, found {found!r}"[:200])
    return found
