"""Serve the dashboard's bundle, and forward `/api` and its WebSockets to the API, so that the browser has one origin.

The page therefore needs no API address and no CORS, and its policy can be `connect-src 'self'`. The server has no state
and passes tokens through. PLATFORM_DASHBOARD_BUNDLE is the folder, PLATFORM_API_URL the address of the API.
`start` runs it as `uvicorn deploy.local.dashboard_server:create_app --factory`.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from configs import logs
from deploy.errors import DeployError

API_TIMEOUT_S = 30.0
SLOW_PATHS_S = {"/api/v1/config/preview": 130.0}
"""Longer timeouts: a preview replays the recording, and the API ends it after 120 s."""
BODY_MAX_BYTES = 64 * 1024
"""As the API's limit."""
FORWARDED_PREFIXES = ("/api/v1/",)
FORWARDED_PATHS = ("/health",)
TRY_AGAIN_LATER, SERVICE_RESTART, POLICY_VIOLATION = 1013, 1012, 1008
METHODS = ["GET", "POST", "PATCH", "DELETE"]
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_DECODINGS_MAX = 4
_FORWARDED_HEADERS = {"authorization", "content-type", "accept", "idempotency-key", "x-request-id", "user-agent"}
_RETURNED_HEADERS = {"content-type", "x-request-id", "location", "retry-after", "www-authenticate"}


def create_app() -> Starlette:
    """Build the server from the environment. Raises DeployError if a variable is missing."""
    logs.configure("dashboard")
    variables = {name: os.environ.get(name, "") for name in ("PLATFORM_DASHBOARD_BUNDLE", "PLATFORM_API_URL")}
    missing = [name for name, value in variables.items() if not value]
    if missing:
        raise DeployError(f"the dashboard server requires {' and '.join(missing)}; `python cli.py start` sets them")
    return make_app(Path(variables["PLATFORM_DASHBOARD_BUNDLE"]), variables["PLATFORM_API_URL"])


def make_app(bundle: Path, api: str) -> Starlette:
    """Build the server of the folder `bundle` for the API at `api` (http://HOST:PORT)."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # The API is local, so bypass the environment's proxy. A cookie of one browser must not reach another.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        async with httpx.AsyncClient(
            base_url=api, timeout=API_TIMEOUT_S, trust_env=False, cookies=no_cookies
        ) as client:
            app.state.client = client
            yield

    app = Starlette(
        routes=[
            Route("/health", _proxy_request, methods=["GET"]),
            Route("/api/{path:path}", _proxy_request, methods=METHODS),
            WebSocketRoute("/api/{path:path}", _proxy_websocket),
            Mount("/", StaticFiles(directory=bundle, html=True)),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_with_headers)],
        lifespan=lifespan,
    )
    app.state.streams_at = api.replace("http", "ws", 1)
    return app


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(_SECURITY_HEADERS)
    # Only a proxy with TLS in front of this server sets the header. A browser ignores HSTS on a plain connection.
    if request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower() == "https":
        response.headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    # The names of assets contain their hash. The pages that refer to them must always be revalidated.
    is_hashed_asset = request.url.path.startswith("/assets/") and response.status_code == 200
    if request.url.path.startswith("/api/"):
        response.headers["Cache-Control"] = "no-store"
    else:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_hashed_asset else "no-cache"
    return response


async def _proxy_request(request: Request) -> Response:
    """Forward a request and return the API's response. An unreachable API is 502, a timeout 504, as problem JSON."""
    if not is_forwarded(request.scope["raw_path"]):
        return _problem(404, "The dashboard forwards only paths below /api/v1/, without dot segments.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            return _problem(413, f"The request body exceeds {BODY_MAX_BYTES:,} bytes.")
    headers = {name: value for name, value in request.headers.items() if name in _FORWARDED_HEADERS}
    if request.client is not None:
        # Append this connection's address, so that the API can skip the proxies that it trusts.
        hops = [*request.headers.getlist("X-Forwarded-For"), request.client.host]
        headers["X-Forwarded-For"] = ", ".join(hops)
    client: httpx.AsyncClient = request.app.state.client
    # Forward the raw path, so that percent-encoded names stay encoded.
    raw_path = request.scope["raw_path"] + (
        b"?" + request.scope["query_string"] if request.scope["query_string"] else b""
    )
    url = httpx.URL("/").copy_with(raw_path=raw_path)
    timeout_s = SLOW_PATHS_S.get(request.url.path, API_TIMEOUT_S)
    try:
        response = await client.request(request.method, url, content=body, headers=headers, timeout=timeout_s)
    except httpx.TimeoutException:
        return _problem(504, f"The API did not respond within {timeout_s:.0f} s.")
    except httpx.HTTPError:
        return _problem(502, "The API is unavailable.")
    response_headers = {name: value for name, value in response.headers.items() if name in _RETURNED_HEADERS}
    return Response(response.content, response.status_code, response_headers)


def is_forwarded(raw_path: bytes) -> bool:
    """Return whether the API receives this path: below a known prefix, without dot or empty segments, also encoded.

    >>> is_forwarded(b"/api/v1/orders/ord%2F1"), is_forwarded(b"/api/../metrics"), is_forwarded(b"/api/v1/%2e%2e/x")
    (True, False, False)
    """
    path = raw_path.decode("latin-1")
    if path in FORWARDED_PATHS:
        return True
    if not path.isascii() or not path.startswith(FORWARDED_PREFIXES):
        return False
    for _ in range(_DECODINGS_MAX):
        # A server behind this one may decode once more, and treat a backslash as a slash.
        if any(segment in ("", ".", "..") for segment in path[1:].replace("\\", "/").split("/")):
            return False
        path, before = unquote(path), path
        if path == before:
            return True
    return False


def _problem(status: int, detail: str) -> Response:
    titles = {404: "Not Found", 413: "Content Too Large", 502: "Bad Gateway", 504: "Gateway Timeout"}
    problem = {"type": "about:blank", "title": titles[status], "status": status, "detail": detail, "request_id": None}
    return JSONResponse(problem, status, media_type="application/problem+json")


async def _proxy_websocket(browser: WebSocket) -> None:
    """Relay both directions until one side closes; the other side receives the same close code."""
    raw_path = browser.scope["raw_path"]
    if not is_forwarded(raw_path):
        await browser.close(POLICY_VIOLATION)
        return
    url = f"{browser.app.state.streams_at}{raw_path.decode('ascii')}"
    url += f"?{browser.url.query}" if browser.url.query else ""
    try:
        # Connect to the API first: the browser's connection is accepted only if the API accepts.
        async with connect(url, open_timeout=5, proxy=None) as api:
            await browser.accept()
            await _relay(browser, api)
    except (OSError, TimeoutError, InvalidHandshake):
        await browser.accept()  # a close before the handshake cannot carry a reason
        await _close(browser, TRY_AGAIN_LATER, "the API is unavailable")


async def _relay(browser: WebSocket, api: ClientConnection) -> None:
    tasks = [asyncio.create_task(_relay_to_api(browser, api)), asyncio.create_task(_relay_to_browser(browser, api))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _relay_to_api(browser: WebSocket, api: ClientConnection) -> None:
    with contextlib.suppress(WebSocketDisconnect, ConnectionClosed, KeyError):
        while True:
            await api.send(await browser.receive_text())


async def _relay_to_browser(browser: WebSocket, api: ClientConnection) -> None:
    """Relay messages. A slow browser slows this down and thereby the API, which disconnects slow clients."""
    try:
        while True:
            message: Any = await api.recv()
            await browser.send_text(message)
    except ConnectionClosed as closed:
        frame = closed.rcvd
        # Without a close frame the API has crashed or was killed. Code 1006 must not be sent.
        code, reason = (SERVICE_RESTART, "the API connection was lost") if frame is None else (frame.code, frame.reason)
        await _close(browser, code if code not in (1005, 1006, 1015) else SERVICE_RESTART, reason)
    except (WebSocketDisconnect, RuntimeError, OSError):
        return  # the browser has disconnected


async def _close(browser: WebSocket, code: int, reason: str) -> None:
    with contextlib.suppress(RuntimeError, OSError):
        await browser.close(code, reason)
