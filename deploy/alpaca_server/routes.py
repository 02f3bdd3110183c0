"""The REST endpoints: Alpaca's /v2, historical bars and news, and /control to set prices, faults and sessions."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.alpaca_server.broker import LocalBroker, iso
from deploy.alpaca_server.market import SECOND_NS, BarRow
from deploy.alpaca_server.order_book import (
    CLOSED,
    EXTENDED,
    OPEN_STATES,
    REGULAR,
    ZERO,
    BrokerApiError,
    BrokerOrder,
    decimal_text,
)

Handler = Callable[[Request], Awaitable[Response]]


def routes(broker: LocalBroker) -> list[Route]:
    trading = AlpacaEndpoints(broker)
    return [
        *_trading_routes(trading),
        *_data_routes(trading),
        Route("/control/{what}", trading.control, methods=["POST"]),
        Route("/control/state", trading.state),
    ]


def _trading_routes(trading: AlpacaEndpoints) -> list[Route]:
    table: list[tuple[str, str, str, Handler]] = [
        ("/v2/orders", "POST", "submit", trading.submit),
        ("/v2/orders", "GET", "ask", trading.list_orders),
        ("/v2/orders:by_client_order_id", "GET", "ask", trading.order_by_client_id),
        ("/v2/orders/{order_id}", "GET", "ask", trading.order),
        ("/v2/orders/{order_id}", "PATCH", "submit", trading.replace),
        ("/v2/orders/{order_id}", "DELETE", "cancel", trading.cancel),
        ("/v2/positions", "GET", "account", trading.positions),
        ("/v2/account", "GET", "account", trading.account),
        ("/v2/account/activities/FILL", "GET", "account", trading.activities),
        ("/v2/clock", "GET", "ask", trading.clock),
        ("/v2/assets", "GET", "ask", trading.assets),
        ("/v2/assets/{symbol:path}", "GET", "ask", trading.asset),
    ]
    return [Route(path, trading.guarded(place, handler), methods=[method]) for path, method, place, handler in table]


def _data_routes(trading: AlpacaEndpoints) -> list[Route]:
    paths = {"/v2/stocks/bars": trading.bars, "/v1beta3/crypto/us/bars": trading.bars, "/v1beta1/news": trading.news}
    return [Route(path, trading.guarded("", handler)) for path, handler in paths.items()]


class AlpacaEndpoints:
    """The endpoints, one method each."""

    def __init__(self, broker: LocalBroker) -> None:
        self._broker = broker

    def guarded(self, place: str, handler: Handler) -> Handler:
        """Wrap a handler with key check, rate limit, scripted faults and Alpaca's error responses."""
        broker = self._broker

        async def guard(request: Request) -> Response:
            credentials = (request.headers.get("apca-api-key-id"), request.headers.get("apca-api-secret-key"))
            if credentials != (broker.key, broker.secret):
                return _problem(403, 40310000, "forbidden.")
            if broker.is_rate_limited():
                return _problem(429, 42910000, "too many requests.", {"X-RateLimit-Limit": "200", "Retry-After": "1"})
            fault = broker.faults.take(place) if place else None
            if fault is not None and fault.kind == "status":
                return _problem(fault.status, fault.status * 100_000, "scripted fault")
            if fault is not None and fault.kind == "lost_request":
                await asyncio.sleep(fault.delay_s)
                return _problem(504, 50410000, "gateway timeout")
            try:
                response = await handler(request)
            except BrokerApiError as error:
                return _problem(error.status, error.code, error.message)
            except json.JSONDecodeError:
                return _problem(400, 40010000, "request body format is invalid")
            if fault is not None:
                await asyncio.sleep(fault.delay_s)
                return _problem(504, 50410000, "gateway timeout")
            return response

        return guard

    # -- orders --------------------------------------------------------------------------------------------------------

    async def submit(self, request: Request) -> Response:
        return JSONResponse(self._broker.book.submit(await request.json()).as_json())

    async def replace(self, request: Request) -> Response:
        return JSONResponse(self._broker.book.replace(request.path_params["order_id"], await request.json()).as_json())

    async def cancel(self, request: Request) -> Response:
        self._broker.book.cancel(request.path_params["order_id"])
        return Response(status_code=204)

    async def order(self, request: Request) -> Response:
        return JSONResponse(self._broker.book.find(request.path_params["order_id"]).as_json())

    async def order_by_client_id(self, request: Request) -> Response:
        return JSONResponse(
            self._broker.book.find_by_client_id(request.query_params.get("client_order_id", "")).as_json()
        )

    async def list_orders(self, request: Request) -> Response:
        query = request.query_params
        status, limit = query.get("status", "open"), min(int(query.get("limit", 50)), 500)
        orders: list[BrokerOrder] = list(self._broker.book.orders.values())
        if status != "all":
            orders = [order for order in orders if (order.status in OPEN_STATES) == (status == "open")]
        if query.get("after"):
            orders = [order for order in orders if order.created_at > query["after"]]
        if query.get("direction", "desc") == "desc":
            orders.reverse()
        return JSONResponse([order.as_json() for order in orders[:limit]])

    # -- the account ---------------------------------------------------------------------------------------------------

    async def positions(self, request: Request) -> Response:
        book = self._broker.book
        rows = []
        for symbol, quantity in book.positions.items():
            price = book.prices.get(symbol, ZERO)
            side = "long" if quantity > 0 else "short"
            cost = book.costs[symbol]
            value = quantity * price
            numbers = {
                "qty": quantity,
                "qty_available": quantity,
                "avg_entry_price": abs(cost / quantity),
                "market_value": value,
                "cost_basis": cost,
                "unrealized_pl": value - cost,
                "unrealized_plpc": ZERO,
                "unrealized_intraday_pl": ZERO,
                "unrealized_intraday_plpc": ZERO,
                "current_price": price,
                "lastday_price": price,
                "change_today": ZERO,
            }
            asset_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, symbol))
            asset = {"asset_id": asset_id, "symbol": symbol, "exchange": "NASDAQ", "asset_class": "us_equity"}
            rows.append({**asset, "side": side, **{name: decimal_text(number) for name, number in numbers.items()}})
        return JSONResponse(rows)

    async def account(self, request: Request) -> Response:
        book = self._broker.book
        power, equity = f"{book.buying_power():f}", f"{book.equity():f}"
        money = {"cash": f"{book.cash:f}", "equity": equity, "portfolio_value": equity, "buying_power": power}
        flags = {"pattern_day_trader": False, "trading_blocked": False, "account_blocked": False}
        identity = {"id": self._broker.account_id, "account_number": "LOCAL1", "status": "ACTIVE", "currency": "USD"}
        return JSONResponse({**identity, **money, **flags, "shorting_enabled": True, "multiplier": "2"})

    async def activities(self, request: Request) -> Response:
        rows = [
            {"id": f["execution_id"], "activity_type": "FILL", "transaction_time": f["timestamp"], **f}
            for f in self._broker.book.fills
        ]
        # As in Alpaca's response, the order id is omitted.
        return JSONResponse([{name: value for name, value in row.items() if name != "order_id"} for row in rows])

    async def clock(self, request: Request) -> Response:
        now = datetime.now(UTC)
        times = {"next_open": (now + timedelta(hours=1)).isoformat(), "next_close": (now + timedelta(1)).isoformat()}
        return JSONResponse(
            {"timestamp": now.isoformat(), "is_open": self._broker.book.session == REGULAR, **times},
        )

    async def assets(self, request: Request) -> Response:
        return JSONResponse([self._asset(symbol) for symbol in self._broker.market.symbols])

    async def asset(self, request: Request) -> Response:
        symbol = request.path_params["symbol"]
        if symbol not in self._broker.market.symbols:
            raise BrokerApiError(404, 40410000, f"asset not found for {symbol}")
        return JSONResponse(self._asset(symbol))

    def _asset(self, symbol: str) -> dict[str, Any]:
        asset_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, symbol))
        asset = {"id": asset_id, "class": "us_equity", "exchange": "NASDAQ", "symbol": symbol, "name": symbol}
        flags = {"tradable": True, "marginable": True, "shortable": True, "easy_to_borrow": True, "fractionable": True}
        return {**asset, "status": "active", **flags}

    # -- market data ---------------------------------------------------------------------------------------------------

    async def bars(self, request: Request) -> Response:
        query = request.query_params
        now_ns = time.time_ns()
        start_ns, end_ns = _parse_time_ns(query.get("start"), 0), _parse_time_ns(query.get("end"), now_ns)
        limit = min(int(query.get("limit", 10_000)), 10_000)
        bars_by_symbol = {}
        for symbol in query.get("symbols", "").split(","):
            rows = self._broker.market.bars(symbol, start_ns, end_ns, now_ns, limit)
            if rows:
                bars_by_symbol[symbol] = [_bar(row) for row in rows]
        return JSONResponse({"bars": bars_by_symbol, "next_page_token": None})

    async def news(self, request: Request) -> Response:
        return JSONResponse({"news": self._broker.news[::-1], "next_page_token": None})

    # -- control -------------------------------------------------------------------------------------------------------

    async def control(self, request: Request) -> Response:
        """Control market and network: price, bar, news, session, fault, disconnect, refuse, mute or fill-max."""
        broker, action = self._broker, request.path_params["what"]
        body = json.loads(await request.body() or b"{}")
        if action == "price":
            await broker.publish_price(body["symbol"], float(body["price"]), time.time_ns())
        elif action == "bar":
            await broker.publish_bar(BarRow(**body))
        elif action == "news":
            await broker.publish_news(body["headline"], body["symbols"])
        elif action == "session" and body.get("session") in (REGULAR, EXTENDED, CLOSED):
            broker.book.session = body["session"]
        elif action == "fault":
            try:
                broker.plan_fault(**body)
            except (TypeError, ValueError) as error:
                return _problem(422, 0, str(error))
        elif action == "disconnect":
            await broker.disconnect()
        elif action == "refuse":
            broker.rejects_connections = bool(body["on"])
        elif action == "mute":
            broker.muted = bool(body["on"])
        elif action == "fill-max":
            broker.book.fill_quantity_max = None if body["quantity"] is None else Decimal(str(body["quantity"]))
        else:
            return _problem(404, 0, f"unknown control {action!r} or invalid value {body}")
        return JSONResponse({})

    async def state(self, request: Request) -> Response:
        """Return the number of acceptances of each client_order_id, all orders, positions and fills."""
        book = self._broker.book
        positions = {symbol: f"{quantity.normalize():f}" for symbol, quantity in book.positions.items()}
        orders = [order.as_json() for order in book.orders.values()]
        return JSONResponse(
            {"submits": book.submission_counts, "orders": orders, "positions": positions, "fills": book.fills}
        )


def _problem(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"code": code, "message": message}, status, headers)


def _bar(row: BarRow) -> dict[str, Any]:
    values = {"o": row.open, "h": row.high, "l": row.low, "c": row.close, "v": row.volume, "n": 1, "vw": row.close}
    return {"t": iso(row.open_ns), **values}


def _parse_time_ns(text: str | None, default_ns: int) -> int:
    if not text:
        return default_ns
    parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return round(parsed.timestamp() * SECOND_NS)
