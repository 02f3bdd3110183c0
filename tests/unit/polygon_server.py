"""A local server that speaks Polygon's protocol: the socket of stocks and aggregates by request, on one port.

Written after https://massive.com/docs/websocket/stocks and https://massive.com/docs/rest/stocks/aggregates.
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
    """`with PolygonServer() as server`. Tests set what it does and `say` what happens in the market.

    `held`: what requests find, by span and symbol. `allowed`: channels that the plan has. `page_rows`: bars a page.
    """

    def __init__(self, key: str = "local-polygon-key", port: int | None = None) -> None:
        self.key = key
        self.port = port or free_ports(1)[0]
        self.rest_url, self.stream_url = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}/stocks"
        self.held: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.allowed = {"A", "AM", "Q", "T"}
        self.page_rows = 50_000
        self.refusing = False  # sockets are closed as soon as they are open
        self.failing = 0  # so many of the next requests are answered with 500
        self.requests: list[str] = []
        self.sign_ins = 0
        self._listeners: dict[WebSocket, set[str]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        routes = [
            WebSocketRoute("/stocks", self._socket),
            Route("/v2/aggs/ticker/{ticker}/range/1/{span}/{first:int}/{last:int}", self._aggregates),
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
        self._thread.join(10)

    # -- what a test does

    def hold(self, symbol: str, open_ns: int, prices: Sequence[float], volume: float, span: str = "minute") -> None:
        """A bar that requests find; `prices` are open, high, low, close."""
        bar = {"v": volume, "vw": prices[3], "n": 5, "t": open_ns // MILLI_NS}
        self.held.setdefault((span, symbol), []).append({**dict(zip("ohlc", prices, strict=True)), **bar})

    def say(self, *events: dict[str, Any]) -> None:
        """One message with these events; each listener gets those that it subscribed to."""
        self._do(self._tell(events))

    def say_raw(self, message: str) -> None:
        """These very characters, to every listener."""
        self._do(self._tell_raw(message))

    def cut(self, status: str = "", message: str = "") -> None:
        """Close every socket, after a status where one is given."""
        self._do(self._close(status, message))

    def listens(self, channel: str) -> bool:
        return any(channel in wants for wants in self._listeners.values())

    def _do(self, coroutine: Any) -> None:
        assert self._loop is not None, "the server does not run"
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _tell(self, events: Sequence[dict[str, Any]]) -> None:
        for socket, wants in list(self._listeners.items()):
            heard = [event for event in events if f"{event['ev']}.{event['sym']}" in wants]
            if heard:
                await socket.send_text(json.dumps(heard))

    async def _tell_raw(self, message: str) -> None:
        for socket in list(self._listeners):
            await socket.send_text(message)

    async def _close(self, status: str, message: str) -> None:
        for socket in list(self._listeners):
            if status:
                await socket.send_text(json.dumps([{"ev": "status", "status": status, "message": message}]))
            await socket.close(1001)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        yield

    # -- what Polygon does

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        if self.refusing:
            await socket.close(1001)
            return
        await _status(socket, "connected", "Connected Successfully")
        with contextlib.suppress(WebSocketDisconnect):
            if await self._signed_in(socket):
                self._listeners[socket] = set()
                while True:
                    await self._subscription(socket, json.loads(await socket.receive_text()))
        self._listeners.pop(socket, None)

    async def _signed_in(self, socket: WebSocket) -> bool:
        asked = json.loads(await socket.receive_text())
        self.sign_ins += 1
        if asked != {"action": "auth", "params": self.key}:
            await _status(socket, "auth_failed", "authentication failed")
            await socket.close(1008)
            return False
        await _status(socket, "auth_success", "authenticated")
        return True

    async def _subscription(self, socket: WebSocket, asked: dict[str, Any]) -> None:
        for channel in asked["params"].split(","):
            if asked["action"] == "subscribe" and channel.split(".")[0] in self.allowed:
                self._listeners[socket].add(channel)
                await _status(socket, "success", f"subscribed to: {channel}")
            elif asked["action"] == "unsubscribe":
                self._listeners[socket].discard(channel)
                await _status(socket, "success", f"unsubscribed to: {channel}")
            else:
                await _status(socket, "error", f"not authorized to subscribe to {channel}")

    async def _aggregates(self, request: Request) -> Response:
        asked = request.path_params
        self.requests.append(request.url.path)
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"status": "ERROR", "request_id": "1", "error": "Unknown API Key"}, 401)
        if self.failing:
            self.failing -= 1
            return JSONResponse({"status": "ERROR", "request_id": "1"}, 500)
        held = self.held.get((asked["span"], asked["ticker"]), [])
        rows = [bar for bar in held if asked["first"] <= bar["t"] <= asked["last"]]
        start = int(request.query_params.get("cursor", 0))
        page, left = rows[start : start + self.page_rows], rows[start + self.page_rows :]
        about = {"ticker": asked["ticker"], "adjusted": False, "queryCount": len(page), "resultsCount": len(page)}
        answer: dict[str, Any] = {**about, "status": "OK", "request_id": "1"}
        if page:
            answer["results"] = page
        if left:
            # Another host, as an answer that somebody else wrote might name one.
            answer["next_url"] = f"https://elsewhere.invalid{request.url.path}?cursor={start + self.page_rows}"
        return JSONResponse(answer)


async def _status(socket: WebSocket, status: str, message: str) -> None:
    await socket.send_text(json.dumps([{"ev": "status", "status": status, "message": message}]))
