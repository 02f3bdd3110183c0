"""The table of REST endpoints, and what holds for all: keys, rate limit, scripted faults and error responses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.alpaca_server.account_endpoints import AccountEndpoints
from deploy.alpaca_server.broker import LocalBroker
from deploy.alpaca_server.broker_order import FORBIDDEN, BrokerApiError
from deploy.alpaca_server.control_endpoints import ControlEndpoints
from deploy.alpaca_server.data_endpoints import DataEndpoints
from deploy.alpaca_server.order_endpoints import OrderEndpoints

Handler = Callable[[Request], Awaitable[Response]]


def routes(broker: LocalBroker) -> list[Route]:
    """Return the routes. The second item of a row is the place of its scripted faults; market data has none."""
    orders, account = OrderEndpoints(broker.book), AccountEndpoints(broker)
    data, control = DataEndpoints(broker), ControlEndpoints(broker)
    table: list[tuple[str, str, str, Handler]] = [
        ("POST", "submit", "/v2/orders", orders.submit),
        ("GET", "ask", "/v2/orders", orders.list_orders),
        ("DELETE", "cancel", "/v2/orders", orders.cancel_all),
        ("GET", "ask", "/v2/orders:by_client_order_id", orders.order_by_client_id),
        ("GET", "ask", "/v2/orders/{order_id}", orders.order),
        ("PATCH", "submit", "/v2/orders/{order_id}", orders.replace),
        ("DELETE", "cancel", "/v2/orders/{order_id}", orders.cancel),
        ("GET", "account", "/v2/positions", account.positions),
        ("DELETE", "submit", "/v2/positions", orders.close_all_positions),
        ("GET", "account", "/v2/positions/{symbol:path}", account.position),
        ("DELETE", "submit", "/v2/positions/{symbol:path}", orders.close_position),
        ("GET", "account", "/v2/account", account.account),
        ("GET", "account", "/v2/account/configurations", account.configuration),
        ("PATCH", "account", "/v2/account/configurations", account.configure),
        ("GET", "activities", "/v2/account/activities", account.activities),
        ("GET", "account", "/v2/account/activities/{activity_type}", account.activities),
        ("GET", "ask", "/v2/clock", account.clock),
        ("GET", "ask", "/v2/calendar", account.calendar),
        ("GET", "ask", "/v2/assets", account.assets),
        ("GET", "ask", "/v2/assets/{symbol:path}", account.asset),
        ("GET", "", "/v2/stocks/bars", data.bars),
        ("GET", "", "/v1beta3/crypto/us/bars", data.bars),
        ("GET", "", "/v1beta1/news", data.news),
    ]
    return [
        *(Route(path, _guarded(broker, place, handler), methods=[method]) for method, place, path, handler in table),
        Route("/control/{what}", _reported(control.control), methods=["POST"]),
        Route("/control/state", control.state),
    ]


def _reported(handler: Handler) -> Handler:
    """Wrap a handler so that every fault of the request is one of Alpaca's error responses."""

    async def report(request: Request) -> Response:
        try:
            return await handler(request)
        except BrokerApiError as error:
            return problem(error.status, error.code, error.message, error.fields)

    return report


def _guarded(broker: LocalBroker, place: str, handler: Handler) -> Handler:
    """Wrap a handler with key check, rate limit, scripted faults and Alpaca's error responses."""
    reported = _reported(handler)

    async def guard(request: Request) -> Response:
        credentials = (request.headers.get("apca-api-key-id"), request.headers.get("apca-api-secret-key"))
        if credentials != (broker.key, broker.secret):
            return problem(403, FORBIDDEN, "forbidden.")
        if broker.is_rate_limited(of_market_data=not place):
            headers = {"X-RateLimit-Limit": "200", "Retry-After": "1"}
            return problem(429, 42910000, "too many requests.", headers=headers)
        fault = broker.faults.pop(place) if place else None
        if fault is not None and fault.kind == "status":
            return problem(fault.status, fault.status * 100_000, "scripted fault")
        if fault is not None and fault.kind == "lost_request":
            await asyncio.sleep(fault.delay_s)
            return problem(504, 50410000, "gateway timeout")
        response = await reported(request)
        if fault is not None:
            await asyncio.sleep(fault.delay_s)
            return problem(504, 50410000, "gateway timeout")
        return response

    return guard


def problem(
    status: int, code: int, message: str, fields: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Return an error response in Alpaca's shape."""
    return JSONResponse({"code": code, "message": message, **(fields or {})}, status, headers)


async def unknown_endpoint(_request: Request, error: Exception) -> Response:
    """Respond to a path or method that does not exist, in Alpaca's shape."""
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.status_code * 100_000 + 10_000, "endpoint not found.")
