"""Client of Alpaca's trading API. Each request has a timeout; each error states whether the request took effect."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from requests.exceptions import RequestException

from dataflows.broker.broker_errors import BrokerRejected, BrokerThrottled, BrokerUncertain
from dataflows.runtime.bounded_session import BoundedSession
from schemas.records import LIMIT, MARKET, STOP, STOP_LIMIT, TRAILING_STOP, OrderIntent, OrderType

_ORDER_TYPES: dict[OrderType, str] = {
    MARKET: "market",
    LIMIT: "limit",
    STOP: "stop",
    STOP_LIMIT: "stop_limit",
    TRAILING_STOP: "trailing_stop",
}
ACTIVITY_TYPES = (
    *("CSD", "CSW", "CSR", "JNLC", "ACATC", "FEE", "CFEE", "PTC", "PTR"),
    *("INT", "INTNRA", "INTTW", "DIV", "DIVCGL", "DIVCGS", "DIVNRA", "DIVROC", "DIVTXEX", "DIVFEE"),
)
"""The account activities that move cash without a trade. Source: Alpaca's documentation of account activities."""
_QUOTE_CURRENCIES = ("USDT", "USDC", "USD", "BTC")
"""Quote currencies of crypto pairs. Source: Alpaca, "Crypto Orders". Longer names come before those that end them."""
ACTIVITY_PAGE = 100
"""Activities per page, Alpaca's maximum."""
NOT_FOUND = 404
TOO_MANY_REQUESTS = 429
_UNCERTAIN_STATUSES = frozenset({408, 409, 425})


class AccountSnapshot(NamedTuple):
    """The broker's account: cash and equity, signed quantities and average entry prices by symbol, open orders as
    received.
    """

    account_number: str
    cash: Decimal
    equity: Decimal
    positions: dict[str, str]
    orders: list[dict[str, Any]]
    average_prices: dict[str, str]


class AlpacaApi:
    """One account. Every method raises BrokerRejected, BrokerThrottled or BrokerUncertain.

    `may_submit` is called before each new order. It returns False if it is unknown whether this process may submit, so
    that the order waits, and raises Unavailable if it may not. `submission` is held while an order is sent, and raises
    BrokerRejected if no order may be sent.
    """

    def __init__(
        self,
        key: str,
        secret: str,
        *,
        paper: bool,
        url: str | None,
        timeout_s: float,
        may_submit: Callable[[], bool] = lambda: True,
        submission: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._may_submit, self._submission = may_submit, submission
        self._client = TradingClient(key, secret, paper=paper, raw_data=True, url_override=url)
        self._client._session = BoundedSession(timeout_s)
        self._client._retry = 0  # the client's own retries would sleep and delay a cancel

    def submit(self, intent: OrderIntent, client_order_id: str) -> dict[str, Any]:
        """Submit an order. Return it as the broker reports it."""
        if not self._may_submit():
            raise BrokerThrottled(1.0)
        with self._submission():
            return self._request("POST", "/orders", order_body(intent, client_order_id))

    def find(self, client_order_id: str) -> dict[str, Any]:
        """Return an order. Raises BrokerRejected with status 404 if the broker has no such order."""
        return self._request("GET", "/orders:by_client_order_id", {"client_order_id": client_order_id})

    def order(self, broker_order_id: str) -> dict[str, Any]:
        """Return an order with its attached orders in `legs`. Raises BrokerRejected if the broker has no such order."""
        return self._request("GET", f"/orders/{broker_order_id}", {"nested": "true"})

    def cancel(self, broker_order_id: str) -> None:
        self._request("DELETE", f"/orders/{broker_order_id}")

    def account_snapshot(self) -> AccountSnapshot:
        account = self._request("GET", "/account")
        open_positions: Any = self._request("GET", "/positions")
        orders = self.open_orders()
        positions = {_symbol(position): _signed_quantity(position) for position in open_positions}
        return AccountSnapshot(
            account_number=str(account.get("account_number", "")),
            cash=parse_decimal(account.get("cash")),
            equity=parse_decimal(account.get("equity")),
            positions=positions,
            orders=orders,
            average_prices={
                _symbol(position): decimal_text(parse_decimal(position.get("avg_entry_price")))
                for position in open_positions
            },
        )

    def activities(self, after: str, page_token: str = "") -> list[dict[str, Any]]:
        """Return a page of at most `ACTIVITY_PAGE` activities after a day (YYYY-MM-DD), oldest first.

        `page_token` is the id of the last activity of the previous page, "" for the first page.
        """
        query: dict[str, Any] = {
            "activity_types": ",".join(ACTIVITY_TYPES),
            "after": after,
            "direction": "asc",
            "page_size": ACTIVITY_PAGE,
        }
        rows: Any = self._request(
            "GET", "/account/activities", query | ({"page_token": page_token} if page_token else {})
        )
        return list(rows)

    def open_orders(self) -> list[dict[str, Any]]:
        """Return the working orders of the account, oldest first, at most 500."""
        orders: Any = self._request("GET", "/orders", {"status": "open", "limit": 500, "direction": "asc"})
        return list(orders)

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
    terms = intent.terms
    order_fields: dict[str, Any] = {
        "symbol": terms.symbol,
        "qty": decimal_text(terms.quantity),
        "side": terms.side.lower(),
        "type": _ORDER_TYPES[terms.order_type],
        "time_in_force": terms.time_in_force.lower(),
        "client_order_id": client_order_id,
    }
    prices = {
        "limit_price": terms.limit_price,
        "stop_price": terms.stop_price,
        "trail_price": terms.trail_amount,
        "trail_percent": terms.trail_percent,
    }
    order_fields |= {name: decimal_text(price) for name, price in prices.items() if price is not None}
    if intent.stop_client_order_id:
        order_fields |= _oco_fields(intent)
    return order_fields | ({"extended_hours": True} if intent.extended_hours else {})


def _oco_fields(intent: OrderIntent) -> dict[str, Any]:
    """Return the fields of an OCO order: the take profit is the order itself, the stop loss is attached to it."""
    assert intent.terms.limit_price is not None and intent.stop_loss_price is not None, intent.client_order_id
    stop_loss = {"stop_price": decimal_text(intent.stop_loss_price)}
    if intent.stop_loss_limit_price is not None:
        stop_loss["limit_price"] = decimal_text(intent.stop_loss_limit_price)
    take_profit = {"limit_price": decimal_text(intent.terms.limit_price)}
    return {"order_class": "oco", "take_profit": take_profit, "stop_loss": stop_loss}


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


def _symbol(position: dict[str, Any]) -> str:
    """Return the symbol of a position as orders and market data write it.

    Alpaca writes a crypto pair without its slash in positions only.

    >>> _symbol({"symbol": "BTCUSD", "asset_class": "crypto"}), _symbol({"symbol": "AAPL", "asset_class": "us_equity"})
    ('BTC/USD', 'AAPL')
    """
    symbol = str(position["symbol"])
    if position.get("asset_class") != "crypto" or "/" in symbol:
        return symbol
    quote = next((one for one in _QUOTE_CURRENCIES if symbol.endswith(one) and symbol != one), "")
    return f"{symbol.removesuffix(quote)}/{quote}" if quote else symbol


def _signed_quantity(position: dict[str, Any]) -> str:
    quantity = abs(parse_decimal(position.get("qty")))
    return decimal_text(-quantity if position.get("side") == "short" else quantity)
