"""Limits on the size and shape of a request, applied before any endpoint reads it.

FastAPI reads and parses the body of a request before it checks the token. This middleware therefore checks the token
first, reads at most `BODY_MAX_BYTES` within `BODY_TIMEOUT_S`, and rejects JSON that is nested too deeply.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from api.routers import PREFIX

log = structlog.get_logger(__name__)

BODY_MAX_BYTES = 64 * 1024
"""No endpoint needs more: an order has less than 2 KB."""
ANONYMOUS_BODY_MAX_BYTES = 16 * 1024
"""For requests without a token: a login has a name and a password, a refresh has one token."""
BODY_TIMEOUT_S = 10.0
JSON_DEPTH_MAX = 20
HEADERS_MAX, HEADERS_MAX_BYTES = 100, 16 * 1024
TARGET_MAX_BYTES = 8 * 1024
"""Path and query of a request."""
ANONYMOUS_PATHS = frozenset({f"{PREFIX}/auth/login", f"{PREFIX}/auth/refresh"})
"""Endpoints under `/api/` that accept a body without an access token."""

_TOKEN_OF_JSON = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


class _Refusal(NamedTuple):
    status: int
    reason: str
    detail: str


class RequestLimits:
    """ASGI middleware. `is_valid_token` checks the signature and expiry of an access token, without any server."""

    def __init__(self, app: ASGIApp, *, is_valid_token: Callable[[str], bool], registry: CollectorRegistry) -> None:
        self._app, self._is_valid_token = app, is_valid_token
        self._refused = Counter(
            "platform_api_refused_requests",
            "requests that exceeded a limit or had a body without a valid token",
            ["reason"],
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _check_head(scope)
        if refusal is None and _has_body(scope):
            refusal = self._check_announced_body(scope)
            if refusal is None:
                body = await self._read_body(scope, receive)
                if body is None:
                    return  # the client has disconnected
                if isinstance(body, bytes):
                    receive = _replay(body, receive)
                else:
                    refusal = body
        if refusal is None:
            await self._app(scope, receive, send)
            return
        self._refused.labels(refusal.reason).inc()
        # The rest of the request stays unread, so the connection cannot carry another one.
        headers = {"Connection": "close"}
        if refusal.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        await problem(refusal.status, refusal.detail, headers)(scope, receive, send)

    def _check_announced_body(self, scope: Scope) -> _Refusal | None:
        path = scope["path"]
        if path.startswith("/api/") and path not in ANONYMOUS_PATHS and not self._has_token(scope):
            return _Refusal(401, "token", "Access token missing or invalid: log in with POST /api/v1/auth/login.")
        announced = _header(scope, b"content-length")
        if announced is not None:
            if not announced.isdigit():
                return _Refusal(400, "length", "The header Content-Length must be a number.")
            if len(announced) > 18 or int(announced) > _body_max(scope):
                return _too_large(scope)
        return None

    def _has_token(self, scope: Scope) -> bool:
        scheme, _, token = (_header(scope, b"authorization") or b"").decode("latin-1").partition(" ")
        return scheme.lower() == "bearer" and self._is_valid_token(token.strip())

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes | _Refusal | None:
        """Return the body, the reason to refuse it, or None if the client disconnects."""
        body, limit = bytearray(), _body_max(scope)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > limit:
                        return _too_large(scope)
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            return _Refusal(408, "timeout", f"The request body did not arrive within {BODY_TIMEOUT_S:g} s.")
        if exceeds_json_depth(bytes(body), JSON_DEPTH_MAX):
            return _Refusal(400, "depth", f"The JSON body is nested deeper than {JSON_DEPTH_MAX} levels.")
        return bytes(body)


def exceeds_json_depth(body: bytes, depth_max: int) -> bool:
    """Return whether arrays and objects are nested deeper than `depth_max`. Brackets within strings do not count.

    >>> exceeds_json_depth(b'[[1]]', 2), exceeds_json_depth(b'[[[1]]]', 2), exceeds_json_depth(b'["[[[[["]', 2)
    (False, True, False)
    """
    if body.count(b"[") + body.count(b"{") <= depth_max:
        return False
    depth = 0
    for match in _TOKEN_OF_JSON.finditer(body):
        if match[0] in b"[{":
            depth += 1
            if depth > depth_max:
                return True
        elif match[0] in b"]}":
            depth -= 1
    return False


def _check_head(scope: Scope) -> _Refusal | None:
    headers = scope["headers"]
    if len(headers) > HEADERS_MAX:
        return _Refusal(431, "headers", f"A request may have at most {HEADERS_MAX} headers, found {len(headers)}.")
    size = sum(len(name) + len(value) for name, value in headers)
    if size > HEADERS_MAX_BYTES:
        return _Refusal(431, "headers", f"The headers may have at most {HEADERS_MAX_BYTES:,} bytes, found {size:,}.")
    target = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
    if target > TARGET_MAX_BYTES:
        return _Refusal(414, "target", f"Path and query may have at most {TARGET_MAX_BYTES:,} bytes, found {target:,}.")
    return None


def _has_body(scope: Scope) -> bool:
    length = _header(scope, b"content-length")
    return (length is not None and length != b"0") or _header(scope, b"transfer-encoding") is not None


def _body_max(scope: Scope) -> int:
    path = scope["path"]
    is_authenticated = path.startswith("/api/") and path not in ANONYMOUS_PATHS
    return BODY_MAX_BYTES if is_authenticated else ANONYMOUS_BODY_MAX_BYTES


def _too_large(scope: Scope) -> _Refusal:
    return _Refusal(413, "size", f"The request body exceeds {_body_max(scope):,} bytes.")


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that delivers the body in one message, then continues with the client's messages."""
    pending = True

    async def replayed() -> Message:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed
