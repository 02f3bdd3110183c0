"""Orders that belong together: bracket, OCO (one cancels other) and OTO (one triggers other).

Source: Alpaca, "Placing Orders": bracket orders, OCO orders, OTO orders, threshold on stop price of stop-loss orders.
The exits of a bracket or OTO order are held until the entry is completely filled.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from deploy.alpaca_server.broker_order import BrokerOrder, decimal_text, invalid, unprocessable
from deploy.alpaca_server.order_request import check_increment, number, part

_CENT = Decimal("0.01")


def attached_orders(
    order: BrokerOrder, request: Mapping[str, Any], price: Decimal, position: Decimal
) -> list[BrokerOrder]:
    """Build the orders that the request attaches to `order`: the exits, or the stop loss of an OCO order.

    price     the symbol's current price
    position  the account's signed position in the symbol

    Raises BrokerApiError if the terms do not form an order of this class.
    """
    if not order.order_class:
        if part(request, "take_profit") or part(request, "stop_loss"):
            raise invalid("take_profit and stop_loss require an order_class of bracket, oco or oto")
        return []
    target = number(part(request, "take_profit"), "limit_price")
    stop_loss = part(request, "stop_loss")
    stop, stop_limit = number(stop_loss, "stop_price"), number(stop_loss, "limit_price")
    _check_exits(order, target, stop, stop_limit)
    _check_class(order, position)
    _check_levels(order, target, stop, price)
    return _build(order, target, stop, stop_limit)


def _check_exits(order: BrokerOrder, target: Decimal | None, stop: Decimal | None, stop_limit: Decimal | None) -> None:
    """Check that the exits which the class needs are there, with valid prices."""
    name = order.order_class
    if name in ("bracket", "oco") and target is None:
        raise invalid(f"{name} orders require take_profit.limit_price")
    if stop is None and (name in ("bracket", "oco") or stop_limit is not None):
        raise invalid(f"{name} orders require stop_loss.stop_price")
    if name == "oto" and (target is None) == (stop is None):
        raise invalid("oto orders require either take_profit.limit_price or stop_loss.stop_price")
    levels = {"take_profit.limit_price": target, "stop_loss.stop_price": stop, "stop_loss.limit_price": stop_limit}
    for label, level in levels.items():
        if level is not None and level <= 0:
            raise invalid(f"{label} must be > 0")
        check_increment(label, level)


def _check_class(order: BrokerOrder, position: Decimal) -> None:
    """Check type, time in force and direction: OCO orders close a position, the others open or increase one."""
    name = order.order_class
    types = ("limit",) if name == "oco" else ("market", "limit")
    if order.type not in types:
        raise invalid(f"{name} orders must be {' or '.join(types)} orders")
    if order.time_in_force not in ("day", "gtc"):
        raise unprocessable(f"{name} orders must be DAY or GTC orders")
    if order.extended_hours:
        raise unprocessable(f"extended hours is not supported for {name} orders")
    closable = -position if order.is_buy else position
    if name == "oco" and closable <= 0:
        raise unprocessable("oco orders must be exit orders")
    if name != "oco" and closable > 0:
        raise unprocessable(f"{name} orders must be entry orders")


def _check_levels(order: BrokerOrder, target: Decimal | None, stop: Decimal | None, price: Decimal) -> None:
    """Check that the take profit is on the good side of the base price, and the stop loss on the bad side of it.

    The base price is the limit price of a limit entry, otherwise the current price. The stop loss is also checked
    against the current price, and that of an OCO order against its take profit.
    """
    exits_sell = order.is_buy != (order.order_class == "oco")
    sign = 1 if exits_sell else -1
    beyond, before = (">", "<=") if exits_sell else ("<", ">=")
    if target is not None and stop is not None and sign * (target - stop) <= 0:
        raise unprocessable(f"take_profit.limit_price must be {beyond} stop_loss.stop_price")
    base = order.limit_price if order.order_class != "oco" and order.limit_price is not None else price
    plus, minus = ("+", "-") if exits_sell else ("-", "+")
    if target is not None and order.order_class != "oco" and sign * (target - base) < _CENT:
        message = f"take_profit.limit_price must be {beyond}= base_price {plus} 0.01"
        raise unprocessable(message, base_price=decimal_text(base))
    for level in (base, price):
        if stop is not None and sign * (level - stop) < _CENT:
            message = f"stop_loss.stop_price must be {before} base_price {minus} 0.01"
            raise unprocessable(message, base_price=decimal_text(level))


def check_exit_pair(order: BrokerOrder, partner: BrokerOrder | None) -> None:
    """Check that a changed exit is still on its side of the other exit. Raises BrokerApiError."""
    if partner is None:
        return
    target, stop = (order, partner) if order.type == "limit" else (partner, order)
    assert target.limit_price is not None and stop.stop_price is not None, f"{order.id}: exits have prices"
    sign, beyond = (-1, "<") if order.is_buy else (1, ">")
    if sign * (target.limit_price - stop.stop_price) <= 0:
        raise unprocessable(f"take_profit.limit_price must be {beyond} stop_loss.stop_price")


def _build(
    order: BrokerOrder, target: Decimal | None, stop: Decimal | None, stop_limit: Decimal | None
) -> list[BrokerOrder]:
    is_oco = order.order_class == "oco"

    def attach(kind: str, limit_price: Decimal | None, stop_price: Decimal | None) -> BrokerOrder:
        return replace(
            order,
            id=str(uuid.uuid4()),
            client_order_id=str(uuid.uuid4()),
            side=order.side if is_oco else ("sell" if order.is_buy else "buy"),
            type=kind,
            limit_price=limit_price,
            stop_price=stop_price,
            status="held",
            is_attached=True,
            parent_id=order.id,
            waits_for_parent=not is_oco,
        )

    legs = [] if is_oco or target is None else [attach("limit", target, None)]
    if stop is not None:
        legs.append(attach("stop" if stop_limit is None else "stop_limit", stop_limit, stop))
    exits = [order, *legs] if is_oco else legs
    if len(exits) == 2:
        exits[0].partner_id, exits[1].partner_id = exits[1].id, exits[0].id
    return legs
