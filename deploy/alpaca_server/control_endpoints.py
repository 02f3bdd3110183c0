"""The endpoints below /control, which Alpaca does not have: they set prices, faults, sessions, assets and cash."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deploy.alpaca_server.broker import LocalBroker
from deploy.alpaca_server.broker_order import NOT_FOUND, BrokerApiError, BrokerOrder, decimal_text, invalid
from deploy.alpaca_server.market import BarRow
from deploy.alpaca_server.order_book import CLOSED, EXTENDED, REGULAR, BrokerBook
from deploy.alpaca_server.order_endpoints import json_object
from deploy.alpaca_server.order_request import number, text_field

_TEXT_MAX = 1_000
_FAULT_NUMBERS: dict[str, type] = {"status": int, "delay_s": float, "times": int}


class ControlEndpoints:
    """Control of market, network and account."""

    def __init__(self, broker: LocalBroker) -> None:
        self._broker = broker

    async def control(self, request: Request) -> Response:
        """Run one action: price, bar, news, session, fault, disconnect, refuse, mute, fill-max, cash or asset.

        `cash` takes amount (signed), type (an activity type, by default CSD or CSW by the sign) and description.
        `asset` takes symbol and the attributes to change. Raises BrokerApiError for an invalid action or value.
        """
        action = request.path_params["what"]
        body = await json_object(request, may_be_empty=True)
        try:
            await self._run(action, body)
        except (KeyError, TypeError, ValueError) as error:
            raise invalid(f"control {action} with {body}: {error!r}") from error
        return JSONResponse({})

    async def _run(self, action: str, body: dict[str, Any]) -> None:
        broker = self._broker
        book = broker.book
        if action == "price":
            symbol = book.find_asset(body.get("symbol")).symbol
            await broker.publish_price(symbol, float(_positive(body, "price")), time.time_ns())
        elif action == "bar":
            await broker.publish_bar(_bar_row(body))
        elif action == "news":
            symbols = [text_field({"symbol": one}, "symbol", _TEXT_MAX) for one in body["symbols"]]
            await broker.publish_news(text_field(body, "headline", _TEXT_MAX), symbols)
        elif action == "session" and body.get("session") in (REGULAR, EXTENDED, CLOSED):
            book.set_session(body["session"])
        elif action == "fault":
            numbers = {name: type_(body[name]) for name, type_ in _FAULT_NUMBERS.items() if name in body}
            broker.plan_fault(**(body | numbers))
        elif action == "disconnect":
            await broker.disconnect()
        elif action == "refuse":
            broker.rejects_connections = bool(body["on"])
        elif action == "mute":
            broker.muted = bool(body["on"])
        elif action == "fill-max":
            book.fill_quantity_max = None if body["quantity"] is None else _positive(body, "quantity")
        elif action == "cash":
            self._move_cash(body)
        elif action == "asset":
            flags = {name: value for name, value in body.items() if name != "symbol"}
            book.find_asset(body.get("symbol")).set_flags(flags)
        else:
            raise BrokerApiError(404, NOT_FOUND, f"unknown control {action!r} or invalid value {body}")

    def _move_cash(self, body: dict[str, Any]) -> None:
        amount = number(body, "amount")
        if amount is None:
            raise invalid("amount is required")
        activity_type = text_field(body, "type", _TEXT_MAX) or ("CSD" if amount > 0 else "CSW")
        self._broker.book.move_cash(activity_type, amount, text_field(body, "description", _TEXT_MAX))
        self._broker.save_account()

    async def state(self, _request: Request) -> Response:
        """Return the number of acceptances of each client_order_id, all orders, positions and fills.

        `attached_to` is the client_order_id of the order with which the broker has created this one, "" for others.
        """
        book = self._broker.book
        positions = {symbol: decimal_text(quantity) for symbol, quantity in book.positions.items()}
        orders = [{**order.as_json(), "attached_to": _attached_to(book, order)} for order in book.orders.values()]
        return JSONResponse(
            {"submits": book.submission_counts, "orders": orders, "positions": positions, "fills": book.fills}
        )


def _attached_to(book: BrokerBook, order: BrokerOrder) -> str:
    parent = book.orders.get(order.parent_id or "") if order.is_attached else None
    return "" if parent is None else parent.client_order_id


def _positive(body: dict[str, Any], name: str) -> Decimal:
    value = number(body, name)
    if value is None or value <= 0:
        raise invalid(f"{name} must be > 0")
    return value


def _bar_row(body: dict[str, Any]) -> BarRow:
    prices = {name: float(_positive(body, name)) for name in ("open", "high", "low", "close")}
    volume = number(body, "volume") or Decimal(0)
    symbol = text_field(body, "symbol", _TEXT_MAX)
    return BarRow(symbol=symbol, open_ns=int(body["open_ns"]), volume=float(volume), **prices)
