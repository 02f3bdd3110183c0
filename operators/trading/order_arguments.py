"""Convert the arguments of `ctx.submit` to those of the action SUBMIT_ORDER, and to the terms of a working order."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, NamedTuple, get_args

from operators.manual_orders import EXIT_SUFFIXES, PRICES_OF, action_id_of
from operators.trading.numbers import positive_text
from schemas.errors import BadInput
from schemas.records import (
    BUY,
    GTC,
    GTD,
    LIMIT,
    MARKET,
    SELL,
    STOP,
    STOP_LIMIT,
    TRAILING_STOP,
    OrderType,
    TimeInForce,
)

_SIDES = (BUY, SELL)
_TYPES: tuple[OrderType, ...] = get_args(OrderType)
_TIMES_IN_FORCE: tuple[TimeInForce, ...] = get_args(TimeInForce)
_GROUP_PATTERN = re.compile(r"[!-~]{1,64}")


class SubmittedOrder(NamedTuple):
    """The arguments of `TradingContext.submit`, as the strategy passed them."""

    symbol: str
    side: Any
    quantity: Any
    type: Any
    limit_price: Any
    stop_price: Any
    trail_amount: Any
    trail_percent: Any
    time_in_force: Any
    expires: Any
    take_profit: Any
    stop_loss: Any
    stop_loss_limit: Any
    reduce_only: Any
    group: Any
    parent: str


def order_arguments(request: SubmittedOrder) -> dict[str, str]:
    """Return the arguments of the action. Raises BadInput for the first invalid one."""
    side = request.side.upper() if isinstance(request.side, str) else request.side
    order_type = _type_of(request)
    arguments = {
        "symbol": request.symbol,
        "side": _one_of("side", side, _SIDES),
        "quantity": positive_text("quantity", request.quantity),
        "order_type": _one_of("type", order_type, _TYPES),
        "time_in_force": _one_of("time_in_force", request.time_in_force, _TIMES_IN_FORCE),
    }
    prices = {
        "limit_price": request.limit_price,
        "stop_price": request.stop_price,
        "trail_amount": request.trail_amount,
        "trail_percent": request.trail_percent,
        "take_profit_price": request.take_profit,
        "stop_loss_price": request.stop_loss,
        "stop_loss_limit_price": request.stop_loss_limit,
    }
    arguments |= {name: positive_text(name, value) for name, value in prices.items() if value is not None}
    _check_prices(order_type, arguments)
    if request.expires is not None:
        if type(request.expires) is not int or not 0 < request.expires < 10**19:
            raise BadInput(f"expires must be nanoseconds since 1970, found {request.expires!r:.64}")
        arguments["expires_ns"] = str(request.expires)
    if (request.time_in_force == GTD) != (request.expires is not None):
        raise BadInput("expires must be set for the time in force GTD, and for no other")
    if request.reduce_only:
        arguments["reduce_only"] = "true"
    if request.group:
        if not _GROUP_PATTERN.fullmatch(request.group):
            raise BadInput(f"group must be short printable ASCII text without spaces, found {request.group!r:.64}")
        arguments["group_id"] = request.group
    if request.parent:
        arguments["parent_id"] = action_id_of(request.parent) or ""
    return arguments


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadInput(f"{name} must be one of {', '.join(allowed)}, found {value!r:.64}")
    return str(value)


def _type_of(request: SubmittedOrder) -> Any:
    """Return the order's type; without one, that of its prices."""
    if request.type is not None:
        return request.type
    if request.trail_amount is not None or request.trail_percent is not None:
        return TRAILING_STOP
    if request.stop_price is not None:
        return STOP if request.limit_price is None else STOP_LIMIT
    return MARKET if request.limit_price is None else LIMIT


def _check_prices(order_type: OrderType, arguments: dict[str, str]) -> None:
    required = PRICES_OF[order_type]
    for name in ("limit_price", "stop_price"):
        if (name in arguments) != (name in required):
            expected = "must be set" if name in required else "must not be set"
            raise BadInput(f"{name} {expected} for an order of type {order_type}")
    trails = ("trail_amount" in arguments) + ("trail_percent" in arguments)
    if trails != (order_type == TRAILING_STOP):
        raise BadInput("a TRAILING_STOP must have trail_amount or trail_percent, and no other order has one of them")
    if "stop_loss_limit_price" in arguments and "stop_loss_price" not in arguments:
        raise BadInput("stop_loss_limit must not be set without stop_loss")


def order_terms(arguments: dict[str, str], parent: str) -> dict[str, Any]:
    """Return the terms of the order for `StrategyOrders`. `parent` is the id of its parent order, or ""."""
    terms: dict[str, Any] = {name: arguments[name] for name in ("symbol", "side", "order_type", "time_in_force")}
    for name in ("quantity", "limit_price", "stop_price", "trail_amount", "trail_percent"):
        if name in arguments:
            terms[name] = Decimal(arguments[name])
    terms["reduce_only"] = "reduce_only" in arguments
    terms["parent_id"] = parent
    return terms


def exit_terms(order_id: str, entry: dict[str, Any], arguments: dict[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the ids and terms of the exit orders of a bracket, as `operators.manual_orders.bracket_exits` has them."""
    exit_order = {
        "symbol": entry["symbol"],
        "side": SELL if entry["side"] == BUY else BUY,
        "quantity": entry["quantity"],
        "time_in_force": GTC,
        "reduce_only": True,
        "parent_id": order_id,
    }
    take_profit, stop_loss, stop_loss_limit = (
        Decimal(arguments[name]) if name in arguments else None
        for name in ("take_profit_price", "stop_loss_price", "stop_loss_limit_price")
    )
    exits: list[tuple[str, dict[str, Any]]] = []
    if take_profit is not None:
        exits.append((order_id + EXIT_SUFFIXES[0], {**exit_order, "order_type": LIMIT, "limit_price": take_profit}))
    if stop_loss is not None:
        prices = {"stop_price": stop_loss, "limit_price": stop_loss_limit}
        order_type = STOP if stop_loss_limit is None else STOP_LIMIT
        exits.append((order_id + EXIT_SUFFIXES[1], {**exit_order, "order_type": order_type, **prices}))
    return exits
