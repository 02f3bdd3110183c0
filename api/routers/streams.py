"""WebSockets: updates of prices and of the portfolio. The REST endpoints return the current state."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool

from api import query_parameters
from api.access import Caller, identify, require_permission, revalidate
from api.problems import Forbidden, TooManyRequests
from api.resources import Resources, ResourcesDep
from api.roles import Permission
from api.routers import PREFIX
from api.stream_hub import MARKET, PORTFOLIO, StreamClient
from api.tokens import Unauthenticated
from schemas.errors import BadInput

UNAUTHENTICATED, FORBIDDEN, TOO_MANY_REQUESTS = 4401, 4403, 4429
BAD_MESSAGE, TRY_AGAIN_LATER = 1003, 1013
FIRST_MESSAGE_TIMEOUT_S = 5.0
REVALIDATE_S = 15.0
CLOSE_TIMEOUT_S = 1.0
SYMBOLS_MAX = 1000

router = APIRouter(prefix=PREFIX, tags=["streams"])


@router.websocket("/market/stream")
async def market_stream(
    socket: WebSocket, resources: ResourcesDep, token: str | None = None, symbols: str | None = None
) -> None:
    """Each bar as it closes: symbol, price, volume, timestamp and the bar's open, high, low."""
    await _serve(socket, resources, StreamClient(MARKET, _parse_symbols(symbols)), token)


@router.websocket("/portfolio/stream")
async def portfolio_stream(
    socket: WebSocket, resources: ResourcesDep, token: str | None = None, symbols: str | None = None
) -> None:
    """`position_update` after each fill, `valuation_update` after each time slice."""
    await _serve(socket, resources, StreamClient(PORTFOLIO, _parse_symbols(symbols)), token)


def _parse_symbols(symbols: str | None) -> set[str] | None:
    if symbols is None:
        return None
    return set([symbol for symbol in symbols.split(",") if symbol][:SYMBOLS_MAX])


async def _serve(socket: WebSocket, resources: Resources, client: StreamClient, token: str | None) -> None:
    """Accept and authenticate the client, then send and receive until one side closes."""
    await socket.accept()  # a connection that is closed before this carries no reason
    try:
        query_parameters.check(socket)
        if token is None:
            token = await _first_message(socket)
        caller = await run_in_threadpool(identify, resources, token, "stream")
        require_permission(caller, Permission.READ)
    except (Unauthenticated, Forbidden, TooManyRequests, BadInput) as error:
        codes = {Unauthenticated: UNAUTHENTICATED, Forbidden: FORBIDDEN, TooManyRequests: TOO_MANY_REQUESTS}
        await _close(socket, codes.get(type(error), BAD_MESSAGE), str(error))
        return
    except WebSocketDisconnect:
        return
    if not resources.hub.join(client):
        await _close(socket, TRY_AGAIN_LATER, "too many open streams, try again later")
        return
    tasks = [
        asyncio.create_task(_send(socket, client)),
        asyncio.create_task(_listen(socket, client)),
        asyncio.create_task(_watch(resources, caller, client)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        reason = next((task.result() for task in done), None)
    finally:
        resources.hub.leave(client)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
    if reason is not None:
        await _close(socket, *reason)


async def _first_message(socket: WebSocket) -> str:
    """Return the token of `{"type": "auth", "token": …}`, so that browsers need not put tokens into URLs.

    Raises Unauthenticated or BadInput.
    """
    try:
        text = await asyncio.wait_for(socket.receive_text(), FIRST_MESSAGE_TIMEOUT_S)
    except TimeoutError as error:
        raise Unauthenticated(f"no token within {FIRST_MESSAGE_TIMEOUT_S:g} s") from error
    except KeyError as error:
        raise BadInput("expected a text message, found bytes") from error
    message = _parse_object(text)
    if message.get("type") != "auth" or not isinstance(message.get("token"), str):
        raise Unauthenticated('the first message must be {"type": "auth", "token": "…"}')
    return str(message["token"])


Reason = tuple[int, str] | None
"""Close code and text; None if the client has disconnected."""


async def _send(socket: WebSocket, client: StreamClient) -> Reason:
    """Send the queued messages. Blocks while the client does not read, until the client is disconnected as too
    slow.
    """
    while True:
        text = await client.queue.get()
        try:
            await socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError, OSError):
            return None  # disconnected between two messages


async def _listen(socket: WebSocket, client: StreamClient) -> Reason:
    """Handle `{"action": "subscribe" | "unsubscribe", "symbols": […]}`. The first subscription replaces "all
    symbols".
    """
    while True:
        try:
            text = await socket.receive_text()
            _filter(client, _parse_object(text))
        except WebSocketDisconnect:
            return None
        except (BadInput, KeyError) as error:
            return BAD_MESSAGE, str(error) if isinstance(error, BadInput) else "expected a text message, found bytes"


def _filter(client: StreamClient, message: dict[str, Any]) -> None:
    symbols = message.get("symbols")
    if message.get("action") not in ("subscribe", "unsubscribe") or not isinstance(symbols, list):
        raise BadInput('expected {"action": "subscribe", "symbols": ["AAPL"]}, or "unsubscribe"')
    requested = {symbol for symbol in symbols if isinstance(symbol, str) and len(symbol) <= 32}
    chosen = client.symbols or set()
    chosen = chosen | requested if message["action"] == "subscribe" else chosen - requested
    if len(chosen) > SYMBOLS_MAX:
        raise BadInput(f"expected at most {SYMBOLS_MAX} symbols, found {len(chosen)}")
    client.symbols = chosen


async def _watch(resources: Resources, caller: Caller, client: StreamClient) -> Reason:
    """Disconnect a client that is too slow or whose token is no longer valid."""
    while True:
        left_s = caller.token.expires_at - time.time()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.too_slow.wait(), max(0.0, min(left_s, REVALIDATE_S)))
            return TRY_AGAIN_LATER, "too slow"
        try:
            await run_in_threadpool(revalidate, resources, caller)
        except Unauthenticated as error:
            return UNAUTHENTICATED, str(error)


def _parse_object(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput("expected a JSON object") from error
    if not isinstance(message, dict):
        raise BadInput(f"expected a JSON object, found {type(message).__name__}")
    return message


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    # The reason of a close frame has at most 123 bytes.
    # If the client does not read, the close times out and the server ends the connection.
    with contextlib.suppress(RuntimeError, OSError, TimeoutError):
        await asyncio.wait_for(socket.close(code, reason.encode()[:123].decode(errors="ignore")), CLOSE_TIMEOUT_S)
