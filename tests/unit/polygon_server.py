"""A local server for Polygon's protocol: the stocks socket and the aggregates requests, on one port.

It follows https://massive.com/docs/websocket/stocks and https://massive.com/docs/rest/stocks/aggregates.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from deploy.local.ports import free_ports
from tests.unit.alpaca_broker import wait_for

MILLI_NS = 1_000_000


class PolygonServer:
    """A context manager that runs the server. A test sets its behavior and publishes market events.

    `stored_bars`: the bars that requests return, by span and symbol. `allowed_channels`: the channels of the plan.
    `page_size`: the number of bars per page.
    """

    def __init__(self, key: str = "local-polygon-key", port: int | None = None) -> None:
        self.key = key
        self.port = port or free_ports(1)[0]
        self.rest_url, self.stream_url = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}/stocks"
        self.stored_bars: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.allowed_channels = {"A", "AM", "Q", "T"}
        self.page_size = 50_000
        self.rejects_connections = False  # close each socket as soon as it opens
        self.failures_left = 0  # number of next requests that return status 500
        self.throttles_left = 0  # number of next requests that return status 429
        self.half_pages_left = 0  # number of next pages of which the second half is missing
        self.cut_bodies_left = 0  # number of next responses whose text ends in the middle
        self.requests: list[str] = []
        self.sign_ins = 0
        self._channels_by_socket: dict[WebSocket, set[str]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        routes = [
            WebSocketRoute("/stocks", self._serve_socket),
            Route("/v2/aggs/ticker/{ticker}/range/{multiplier:int}/{span}/{first:int}/{last:int}", self._aggregates),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes, lifespan=self._lifespan),
            host="127.0.0.1",
            port=self.port,
            log_level="critical",
            timeout_graceful_shutdown=1,
            ws_ping_interval=None,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)

    def __enter__(self) -> PolygonServer:
        self._thread.start()
        wait_for(lambda: self._uvicorn.started, "the server listens")
        return self

    def __exit__(self, *_error: object) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(60)

    # -- controls for tests

    def add_bar(self, symbol: str, open_ns: int, prices: Sequence[float], volume: float, span: str = "minute") -> None:
        """Store a bar for requests. `prices` are open, high, low, close."""
        bar = {"v": volume, "vw": prices[3], "n": 5, "t": open_ns // MILLI_NS}
        self.stored_bars.setdefault((span, symbol), []).append({**dict(zip("ohlc", prices, strict=True)), **bar})

    def publish(self, *events: dict[str, Any]) -> None:
        """Send the events in one message. Each client receives the events that it subscribed to."""
        self._run(self._publish(events))

    def publish_raw(self, message: str) -> None:
        """Send the text unchanged to every client."""
        self._run(self._publish_raw(message))

    def disconnect(self, status: str = "", message: str = "") -> None:
        """Close every socket. Send `status` first, if set."""
        self._run(self._close(status, message))

    def is_subscribed(self, channel: str) -> bool:
        return any(channel in channels for channels in self._channels_by_socket.values())

    def _run(self, coroutine: Any) -> None:
        assert self._loop is not None, "the server does not run"
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _publish(self, events: Sequence[dict[str, Any]]) -> None:
        for socket, channels in list(self._channels_by_socket.items()):
            matching_events = [event for event in events if f"{event['ev']}.{event['sym']}" in channels]
            if matching_events:
                await socket.send_text(json.dumps(matching_events))

    async def _publish_raw(self, message: str) -> None:
        for socket in list(self._channels_by_socket):
            await socket.send_text(message)

    async def _close(self, status: str, message: str) -> None:
        for socket in list(self._channels_by_socket):
            if status:
                await socket.send_text(json.dumps([{"ev": "status", "status": status, "message": message}]))
            await socket.close(1001)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        yield

    # -- Polygon's protocol

    async def _serve_socket(self, socket: WebSocket) -> None:
        await socket.accept()
        if self.rejects_connections:
            await socket.close(1001)
            return
        await _send_status(socket, "connected", "Connected Successfully")
        with contextlib.suppress(WebSocketDisconnect):
            if await self._authenticate(socket):
                self._channels_by_socket[socket] = set()
                while True:
                    await self._update_subscription(socket, json.loads(await socket.receive_text()))
        self._channels_by_socket.pop(socket, None)

    async def _authenticate(self, socket: WebSocket) -> bool:
        message = json.loads(await socket.receive_text())
        self.sign_ins += 1
        if message != {"action": "auth", "params": self.key}:
            await _send_status(socket, "auth_failed", "authentication failed")
            await socket.close(1008)
            return False
        await _send_status(socket, "auth_success", "authenticated")
        return True

    async def _update_subscription(self, socket: WebSocket, message: dict[str, Any]) -> None:
        for channel in message["params"].split(","):
            if message["action"] == "subscribe" and channel.split(".")[0] in self.allowed_channels:
                self._channels_by_socket[socket].add(channel)
                await _send_status(socket, "success", f"subscribed to: {channel}")
            elif message["action"] == "unsubscribe":
                self._channels_by_socket[socket].discard(channel)
                await _send_status(socket, "success", f"unsubscribed to: {channel}")
            else:
                await _send_status(socket, "error", f"not authorized to subscribe to {channel}")

    async def _aggregates(self, request: Request) -> Response:
        path_params = request.path_params
        self.requests.append(request.url.path)
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"status": "ERROR", "request_id": "1", "error": "Unknown API Key"}, 401)
        if self.failures_left:
            self.failures_left -= 1
            return JSONResponse({"status": "ERROR", "request_id": "1"}, 500)
        if self.throttles_left:
            self.throttles_left -= 1
            error = "You've exceeded the maximum requests per minute"
            return JSONResponse({"status": "ERROR", "request_id": "1", "error": error}, 429, {"Retry-After": "7"})
        bars = self.stored_bars.get((path_params["span"], path_params["ticker"]), [])
        rows = [bar for bar in bars if path_params["first"] <= bar["t"] <= path_params["last"]]
        start = int(request.query_params.get("cursor", 0))
        page, remaining = rows[start : start + self.page_size], rows[start + self.page_size :]
        counts = {
            "ticker": path_params["ticker"],
            "adjusted": False,
            "queryCount": len(page),
            "resultsCount": len(page),
        }
        body: dict[str, Any] = {**counts, "status": "OK", "request_id": "1"}
        if page:
            body["results"] = page
        if remaining:
            # The link names another host, as a forged response might.
            body["next_url"] = f"https://elsewhere.invalid{request.url.path}?cursor={start + self.page_size}"
        if self.half_pages_left and page:
            self.half_pages_left -= 1
            body["results"] = page[: len(page) // 2]
        if self.cut_bodies_left:
            self.cut_bodies_left -= 1
            return Response(json.dumps(body)[:-20], media_type="application/json")
        return JSONResponse(body)


async def _send_status(socket: WebSocket, status: str, message: str) -> None:
    await socket.send_text(json.dumps([{"ev": "status", "status": status, "message": message}]))
