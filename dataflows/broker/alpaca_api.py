"""Client of Alpaca's trading API. Each request has a timeout; each error says whether the request took effect."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from requests import Response, Session
from requests.exceptions import RequestException

from schemas.records import OrderIntent

_ORDER_TYPES = {
    "MARKET": "market",
    "LIMIT": "limit",
    "STOP": "stop",
    "STOP_LIMIT": "stop_limit",
    "TRAILING_STOP": "trailing_stop",
}
NOT_FOUND = 404
TOO_MANY_REQUESTS = 429
_UNCERTAIN_STATUSES = frozenset({408, 409, 425})


class BrokerRejected(Exception):
    """The broker rejected the request: it had no effect."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class BrokerThrottled(Exception):
    """Too many requests: the request had no effect. Retry after `wait_s` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many requests, retry in {wait_s:g} s")
        self.wait_s = wait_s


class BrokerUncertain(Exception):
    """No response, or an inconclusive one: the request may or may not have taken effect."""


class AccountSnapshot(NamedTuple):
    """The broker's account: cash and equity, signed quantities by symbol, open orders as received."""

    account_number: str
    cash: Decimal
    equity: Decimal
    positions: dict[str, str]
    orders: list[dict[str, Any]]


class _BoundedSession(Session):
    """A session with a default timeout: `requests` has none."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self._timeout_s = timeout_s

    def request(self, *arguments: Any, **options: Any) -> Response:
        options.setdefault("timeout", self._timeout_s)
        return super().request(*arguments, **options)


class AlpacaApi:
    """One account. Every method raises BrokerRejected, BrokerThrottled or BrokerUncertain."""

    def __init__(self, key: str, secret: str, *, paper: bool, url: str | None, timeout_s: float) -> None:
        self._client = TradingClient(key, secret, paper=paper, raw_data=True, url_override=url)
        self._client._session = _BoundedSession(timeout_s)
        self._client._retry = 0  # the client's own retries would sleep and delay a cancel

    def submit(self, intent: OrderIntent, client_order_id: str) -> dict[str, Any]:
        """Submit an order. Return it as the broker reports it."""
        return self._request("POST", "/orders", order_body(intent, client_order_id))

    def find(self, client_order_id: str) -> dict[str, Any]:
        """Return an order. Raises BrokerRejected with status 404 if the broker has no such order."""
        return self._request("GET", "/orders:by_client_order_id", {"client_order_id": client_order_id})

    def cancel(self, broker_order_id: str) -> None:
        self._request("DELETE", f"/orders/{broker_order_id}")

    def account_snapshot(self) -> AccountSnapshot:
        account = self._request("GET", "/account")
        open_positions: Any = self._request("GET", "/positions")
        orders: Any = self._request("GET", "/orders", {"status": "open", "limit": 500, "direction": "asc"})
        positions = {str(position["symbol"]): _signed_quantity(position) for position in open_positions}
        balances = (parse_decimal(account.get("cash")), parse_decimal(account.get("equity")))
        return AccountSnapshot(str(account.get("account_number", "")), *balances, positions, list(orders))

    def _request(self, method: str, path: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response: Any = self._client._request(method, path, data)
        except APIError as error:
            raise _classify_error(error) from error
        except (RequestException, json.JSONDecodeError) as error:
            raise BrokerUncertain(f"{method} {path}: {type(error).__name__}") from error
        return response or {}


def _classify_error(error: APIError) -> BrokerRejected | BrokerThrottled | BrokerUncertain:
    status = error.status_code
    if status == TOO_MANY_REQUESTS:
        response = error.response
        retry_after = None if response is None else response.headers.get("Retry-After")
        return BrokerThrottled(min(float(retry_after), 60.0) if retry_after and retry_after.isdigit() else 1.0)
    if status is None or status >= 500 or status in _UNCERTAIN_STATUSES:
        return BrokerUncertain(f"the broker responded with status {status}")
    try:
        message = str(json.loads(error.args[0]).get("message", ""))
    except (json.JSONDecodeError, AttributeError, TypeError):
        message = str(error.args[0])[:200]
    return BrokerRejected(status, message or f"HTTP {status}")


def order_body(intent: OrderIntent, client_order_id: str) -> dict[str, Any]:
    """Return the intent as Alpaca's JSON. Numbers are text, so that none is rounded."""
    order_fields: dict[str, Any] = {
        "symbol": intent.symbol,
        "qty": decimal_text(intent.quantity),
        "side": intent.side.lower(),
        "type": _ORDER_TYPES[intent.order_type],
        "time_in_force": intent.time_in_force.lower(),
        "client_order_id": client_order_id,
    }
    prices = {
        "limit_price": intent.limit_price,
        "stop_price": intent.stop_price,
        "trail_price": intent.trail_amount,
        "trail_percent": intent.trail_percent,
    }
    order_fields |= {name: decimal_text(price) for name, price in prices.items() if price is not None}
    return order_fields | ({"extended_hours": True} if intent.extended_hours else {})


def decimal_text(value: Decimal) -> str:
    """
    >>> decimal_text(Decimal("100.500000000")), decimal_text(Decimal("1E+2"))
    ('100.5', '100')
    """
    return f"{value.normalize():f}"


def parse_decimal(text: Any) -> Decimal:
    """Parse a number from the broker; none or an empty text is 0. Raises BrokerUncertain if it is not a number."""
    if text is None or text == "":
        return Decimal(0)
    try:
        value = Decimal(str(text))
    except InvalidOperation as error:
        raise BrokerUncertain(f"the broker sent {str(text)[:32]!r}, expected a number") from error
    if not value.is_finite():
        raise BrokerUncertain(f"the broker sent {str(text)[:32]!r}, expected a number")
    return value


def _signed_quantity(position: dict[str, Any]) -> str:
    quantity = abs(parse_decimal(position.get("qty")))
    return decimal_text(-quantity if position.get("side") == "short" else quantity)
