"""Validate the order's terms: known constants, a positive quantity, and exactly the prices that its type needs."""

from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number_text, passed
from operators.time_text import iso
from schemas.records import (
    BUY,
    CLS,
    DAY,
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    OPG,
    SELL,
    STOP,
    STOP_LIMIT,
    TRAILING_STOP,
    OrderTerms,
)

NAME = "order_terms"
SIDES = (BUY, SELL)
REQUIRED_PRICES = {
    MARKET: (),
    LIMIT: ("limit_price",),
    STOP: ("stop_price",),
    STOP_LIMIT: ("limit_price", "stop_price"),
}
ORDER_TYPES = (*REQUIRED_PRICES, TRAILING_STOP)
TIMES_IN_FORCE = (DAY, GTC, GTD, IOC, FOK, OPG, CLS)
_PRICE_FIELDS = ("limit_price", "stop_price", "trail_amount", "trail_percent")
_prices_of: Callable[[OrderTerms], tuple[Decimal | None, ...]] = attrgetter(*_PRICE_FIELDS)
_NO_PRICES = (None,) * len(_PRICE_FIELDS)
_TRAIL_FIELDS = ("trail_amount", "trail_percent")


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    if order.side not in SIDES:
        return _refused(order, "side", repr(order.side), " or ".join(SIDES))
    if order.order_type not in ORDER_TYPES:
        return _refused(order, "order_type", repr(order.order_type), " or ".join(ORDER_TYPES))
    if order.time_in_force not in TIMES_IN_FORCE:
        return _refused(order, "time_in_force", repr(order.time_in_force), " or ".join(TIMES_IN_FORCE))
    if not (order.quantity.is_finite() and order.quantity > 0):
        return _refused(order, "quantity", number_text(order.quantity), "above 0")
    return (
        _refuse_prices(order)
        or _refuse_times(order)
        or passed(NAME, f"{order.order_type} {order.time_in_force}", "valid terms")
    )


def _refuse_prices(order: OrderTerms) -> Refusal | None:
    order_type = order.order_type
    if order_type == TRAILING_STOP:
        if (order.trail_amount is None) is (order.trail_percent is None):
            found = "not set" if order.trail_amount is None else "both set"
            return _refused(order, "trail", found, "either trail_amount or trail_percent")
        required: tuple[str, ...] = tuple(name for name in _TRAIL_FIELDS if getattr(order, name) is not None)
    else:
        required = REQUIRED_PRICES[order_type]
    prices = _prices_of(order)
    if order_type == MARKET and prices == _NO_PRICES:
        return None  # most orders
    for name, value in zip(_PRICE_FIELDS, prices, strict=True):
        if name not in required:
            if value is not None:
                return _refused(order, name, number_text(value), f"unset on a {_type_text(order_type)} order")
        elif value is None or not (value.is_finite() and value > 0):
            expected = f"above 0 on a {_type_text(order_type)} order"
            return _refused(order, name, "unset" if value is None else number_text(value), expected)
    if order.trail_percent is not None and order.trail_percent >= 100:
        return _refused(order, "trail_percent", number_text(order.trail_percent), "below 100")
    return None


def _refuse_times(order: OrderTerms) -> Refusal | None:
    if (order.time_in_force == GTD) is (order.expires_ns is None):
        if order.expires_ns is None:
            return _refused(order, "expires_ns", "unset", "set with time_in_force GTD")
        return _refused(order, "expires_ns", iso(order.expires_ns), f"unset with time_in_force {order.time_in_force}")
    if order.time_in_force in (IOC, FOK, OPG, CLS) and order.order_type not in (MARKET, LIMIT):
        expected = f"DAY, GTC or GTD on a {_type_text(order.order_type)} order"
        return _refused(order, "time_in_force", order.time_in_force, expected)
    return None


def _type_text(order_type: str) -> str:
    return order_type.lower().replace("_", "-")


def _refused(order: OrderTerms, field: str, value: str, expected: str) -> Refusal:
    return Refusal(NAME, value, expected, f"{NAME}: {order.symbol} {field} is {value}, must be {expected}")
