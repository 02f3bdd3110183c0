"""Read an order request and check its terms, without the account. Every fault is one of Alpaca's 4xx responses.

Sources: Alpaca, "Placing Orders" (order types, times in force by order type, sub-penny increments, extended hours,
trailing stops), "Fractional Trading" and "Crypto Orders".
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any

from deploy.alpaca_server.assets import CRYPTO_INCREMENT, Asset
from deploy.alpaca_server.broker_order import (
    BAD_REQUEST,
    ZERO,
    BrokerApiError,
    BrokerOrder,
    decimal_text,
    forbidden,
    invalid,
    unprocessable,
)

TYPES = ("market", "limit", "stop", "stop_limit", "trailing_stop")
TIMES_IN_FORCE = ("day", "gtc", "ioc", "fok", "opg", "cls")
ORDER_CLASSES = ("", "simple", "bracket", "oco", "oto")
_REQUIRED_PRICES = {"limit": {"limit_price"}, "stop": {"stop_price"}, "stop_limit": {"limit_price", "stop_price"}}
_CRYPTO_TYPES = ("market", "limit", "stop_limit")
_CRYPTO_TIMES_IN_FORCE = ("gtc", "ioc")
_NUMBER_MAX = Decimal(10) ** 12
_CLIENT_ORDER_ID_MAX = 128
_CENT, _SUB_DOLLAR_INCREMENT, _DOLLAR = Decimal("0.01"), Decimal("0.0001"), Decimal(1)
_HUNDRED = Decimal(100)


def parse_order(request: Mapping[str, Any], asset: Asset, price: Decimal, now: str) -> BrokerOrder:
    """Build the order of a request. `price` converts a notional amount to units.

    Raises BrokerApiError if a field is missing, malformed, or not allowed for this type of order.
    """
    side, kind = request.get("side"), request.get("type")
    for name, value, allowed in (
        ("side", side, ("buy", "sell")),
        ("type", kind, TYPES),
        ("time_in_force", request.get("time_in_force"), TIMES_IN_FORCE),
        ("order_class", request.get("order_class") or "", ORDER_CLASSES),
    ):
        if not isinstance(value, str) or value not in allowed:
            raise invalid(f"invalid {name}")
    limit_price = number(request, "limit_price")
    order_class = request.get("order_class") or ""
    if order_class == "oco":
        limit_price = number(part(request, "take_profit"), "limit_price")
    quantity, notional = _amount(request, limit_price or price)
    order = BrokerOrder(
        id=str(uuid.uuid4()),
        client_order_id=text_field(request, "client_order_id", _CLIENT_ORDER_ID_MAX) or str(uuid.uuid4()),
        symbol=asset.symbol,
        side=str(side),
        type=str(kind),
        time_in_force=str(request["time_in_force"]),
        quantity=quantity,
        limit_price=limit_price,
        stop_price=number(request, "stop_price"),
        trail_price=number(request, "trail_price"),
        trail_percent=number(request, "trail_percent"),
        extended_hours=_flag(request, "extended_hours"),
        created_at=now,
        order_class="" if order_class == "simple" else order_class,
        notional=notional,
    )
    check_terms(order, asset)
    return order


def check_terms(order: BrokerOrder, asset: Asset) -> None:
    """Check an order's terms against the rules that depend on nothing else. Raises BrokerApiError."""
    _check_prices(order)
    (_check_crypto if asset.is_crypto else _check_shares)(order)
    if order.is_fraction and not asset.fractionable:
        raise forbidden(f'asset "{asset.symbol}" is not fractionable')
    if order.extended_hours and (order.type != "limit" or order.time_in_force not in ("day", "gtc")):
        raise unprocessable("extended hours order must be DAY or GTC limit orders")


def _check_prices(order: BrokerOrder) -> None:
    """Check which prices a type of order needs and may have."""
    kind = order.type.replace("_", " ")
    required = _REQUIRED_PRICES.get(order.type, set())
    for name in ("limit_price", "stop_price"):
        value: Decimal | None = getattr(order, name)
        label = name.replace("_", " ")
        if value is None and name in required:
            raise invalid(f"{kind} orders require a {label}")
        if value is not None and name not in required:
            raise invalid(f"{kind} orders require no {label}")
        if value is not None and value <= 0:
            raise invalid(f"{label} must be > 0")
    trails = [trail for trail in (order.trail_price, order.trail_percent) if trail is not None]
    if order.type != "trailing_stop":
        if trails:
            raise invalid(f"{kind} orders require no trail_price or trail_percent")
        return
    if len(trails) != 1:
        raise invalid("trailing stop orders must specify one of trail_price or trail_percent")
    if trails[0] <= 0 or (order.trail_percent is not None and order.trail_percent >= _HUNDRED):
        raise invalid("trail must be > 0, and trail_percent < 100")


def _check_shares(order: BrokerOrder) -> None:
    if order.is_fraction and order.time_in_force != "day":
        raise unprocessable("fractional orders must be DAY orders")
    if order.is_fraction and order.order_class:
        raise unprocessable("fractional orders must be simple orders")
    if order.is_fraction and order.type == "trailing_stop":
        raise unprocessable("fractional orders must be market, limit, stop or stop_limit orders")
    if order.time_in_force not in ("day", "gtc") and order.type not in ("market", "limit"):
        raise unprocessable(f"{order.type} orders must be DAY or GTC orders")
    for name in ("limit_price", "stop_price"):
        check_increment(name, getattr(order, name))


def check_increment(name: str, price: Decimal | None) -> None:
    """Check the minimum price variance of shares: two decimals from 1 USD on, four below (sub-penny rule)."""
    if price is None:
        return
    increment = _CENT if price >= _DOLLAR else _SUB_DOLLAR_INCREMENT
    if price % increment:
        text = f"invalid {name} {decimal_text(price)}"
        raise unprocessable(f"{text}. sub-penny increment does not fulfill minimum pricing criteria")


def _check_crypto(order: BrokerOrder) -> None:
    if order.order_class:
        kind = "otoco" if order.order_class == "bracket" else order.order_class
        raise unprocessable(f"crypto orders not allowed for advanced order_class: {kind}")
    if order.type not in _CRYPTO_TYPES:
        raise invalid("invalid order type for crypto order")
    if order.time_in_force not in _CRYPTO_TIMES_IN_FORCE:
        raise unprocessable("invalid crypto time_in_force")
    if order.type == "stop_limit" and order.time_in_force != "gtc":
        raise unprocessable("invalid crypto time_in_force")
    for name in ("limit_price", "stop_price"):
        price: Decimal | None = getattr(order, name)
        if price is not None and price % CRYPTO_INCREMENT:
            raise unprocessable(f"invalid {name} {decimal_text(price)}. it must be a multiple of the price_increment")


def _amount(request: Mapping[str, Any], price: Decimal) -> tuple[Decimal, Decimal | None]:
    """Return the quantity, and the notional amount if the request has one."""
    quantity, notional = number(request, "qty"), number(request, "notional")
    if quantity is not None and notional is not None:
        raise invalid("only one of qty or notional is accepted")
    if notional is not None:
        if notional % _CENT:
            raise unprocessable("notional value must be limited to 2 decimal places")
        if notional < _DOLLAR:
            raise unprocessable("notional must be >= 1.00")
        return units_for(notional, price), notional
    if quantity is None:
        raise invalid("qty or notional is required")
    if quantity <= 0:
        raise invalid("qty must be > 0")
    if quantity % CRYPTO_INCREMENT:
        raise invalid("qty must be limited to 9 decimal places")
    return quantity, None


def units_for(notional: Decimal, price: Decimal) -> Decimal:
    """Return the units that an amount of money buys, rounded down to nine decimals."""
    return (notional / price).quantize(CRYPTO_INCREMENT, ROUND_DOWN) if price else ZERO


def part(request: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a nested object of a request; a missing one is empty. Raises BrokerApiError if it is none."""
    value = request.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BrokerApiError(400, BAD_REQUEST, "request body format is invalid")
    return value


def number(request: Mapping[str, Any], name: str) -> Decimal | None:
    """Return a number of a request, None if it is missing. Raises BrokerApiError if it is none or out of range."""
    value = request.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise invalid(f"invalid {name}")
    text = str(value) if not isinstance(value, int) or abs(value) <= _NUMBER_MAX else ""
    if not text.isascii() or "_" in text:
        raise invalid(f"invalid {name}")
    try:
        parsed = Decimal(text)
    except (InvalidOperation, ValueError):
        raise invalid(f"invalid {name}") from None
    if not parsed.is_finite() or abs(parsed) > _NUMBER_MAX or (parsed and parsed.adjusted() < -12):
        raise invalid(f"invalid {name}")
    return parsed


def text_field(request: Mapping[str, Any], name: str, length_max: int) -> str:
    """Return a text of a request, "" if it is missing. Raises BrokerApiError if it is none or too long."""
    value = request.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(f"invalid {name}")
    if len(value) > length_max:
        raise invalid(f"{name} must be no more than {length_max} characters")
    if not value.isprintable():  # also half of a surrogate pair, which no response can contain
        raise invalid(f"invalid {name}")
    return value


def _flag(request: Mapping[str, Any], name: str) -> bool:
    value = request.get(name)
    if not isinstance(value, bool | None):
        raise invalid(f"invalid {name}")
    return bool(value)
