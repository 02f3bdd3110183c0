"""The endpoints that submit, replace, cancel and list orders, and those that close positions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deploy.alpaca_server import request_query
from deploy.alpaca_server.account_lists import list_orders
from deploy.alpaca_server.broker_order import BAD_REQUEST, BrokerApiError, BrokerOrder
from deploy.alpaca_server.order_book import BrokerBook

MULTI_STATUS = 207


async def json_object(request: Request, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Return the body of a request. Raises BrokerApiError if it is no JSON object."""
    content = await request.body()
    try:
        body = json.loads(content) if content or not may_be_empty else {}
    except (ValueError, RecursionError):  # also text that is not UTF-8, and numbers of too many digits
        raise BrokerApiError(400, BAD_REQUEST, "request body format is invalid") from None
    if not isinstance(body, dict):
        raise BrokerApiError(400, BAD_REQUEST, "request body format is invalid")
    return body


class OrderEndpoints:
    """One method per endpoint."""

    def __init__(self, book: BrokerBook) -> None:
        self._book = book

    async def submit(self, request: Request) -> Response:
        order = self._book.submit(await json_object(request))
        return JSONResponse(order.as_json(self._book.legs(order)))

    async def replace(self, request: Request) -> Response:
        order = self._book.replace(request.path_params["order_id"], await json_object(request))
        return JSONResponse(order.as_json())

    async def cancel(self, request: Request) -> Response:
        self._book.cancel(request.path_params["order_id"])
        return Response(status_code=204)

    async def cancel_all(self, _request: Request) -> Response:
        """Cancel every open order. The exits of a canceled entry end with it."""
        results = []
        for order in self._book.open_orders():
            if order.is_open:
                self._book.cancel(order.id)
            results.append({"id": order.id, "status": 200})
        return JSONResponse(results, MULTI_STATUS)

    async def order(self, request: Request) -> Response:
        order = self._book.find(request.path_params["order_id"])
        legs = self._book.legs(order) if request_query.flag(request.query_params, "nested") else None
        return JSONResponse(order.as_json(legs))

    async def order_by_client_id(self, request: Request) -> Response:
        order = self._book.find_by_client_id(request.query_params.get("client_order_id", ""))
        return JSONResponse(order.as_json())

    async def list_orders(self, request: Request) -> Response:
        return JSONResponse(list_orders(self._book, request.query_params))

    async def close_position(self, request: Request) -> Response:
        order = self._book.close_position(request.path_params["symbol"], request.query_params)
        return JSONResponse(order.as_json())

    async def close_all_positions(self, request: Request) -> Response:
        """Close every position with a market order. With `cancel_orders=true`, cancel all open orders first."""
        if request_query.flag(request.query_params, "cancel_orders"):
            await self.cancel_all(request)
        return JSONResponse(list(self._close(list(self._book.positions))), MULTI_STATUS)

    def _close(self, symbols: Iterable[str]) -> Iterable[dict[str, Any]]:
        for symbol in symbols:
            row: dict[str, Any] = {"symbol": symbol.replace("/", "")}
            try:
                order: BrokerOrder = self._book.close_position(symbol, {})
            except BrokerApiError as error:
                body = {"code": error.code, "message": error.message, **error.fields}
                yield {**row, "status": error.status, "body": body}
            else:
                yield {**row, "status": 200, "body": order.as_json()}
