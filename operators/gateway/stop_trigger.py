"""Trigger stop orders in the gateway, for symbols and sessions in which the broker does not support stops.

The rules are those of the simulated venue (`operators/venue/bar_path.py`). In a quote, the ask counts for a buy and the
bid for a sell.
"""

from __future__ import annotations

from collections.abc import Iterable

from operators.gateway.gateway_order import GatewayOrder
from operators.money import to_decimal
from operators.venue.bar_path import (
    BarPath,
    close_of,
    fill_at_once,
    fill_later,
    path_of,
    price_path,
    stop_after,
    stop_reached,
)
from operators.venue.fill_sequence import FillCandidate, next_at_once, next_later
from schemas.records import Bar, Quote


def reached_stops(orders: Iterable[GatewayOrder], market_data: Bar | Quote) -> list[GatewayOrder]:
    """Return the orders whose stop the market has reached, in the sequence in which they trade.

    A trailing stop that was not reached follows the best price.
    """
    waiting: list[tuple[GatewayOrder, BarPath]] = []
    for order in orders:
        path = _path_for(order, market_data)
        if path is None:
            continue
        if stop_reached(order, path):
            waiting.append((order, path))
        else:
            order.best_price = stop_after(order, path)[1]
    reached: list[GatewayOrder] = []
    while waiting:
        order = waiting[0][0] if len(waiting) == 1 else _next_of(waiting)
        waiting = [one for one in waiting if one[0] is not order]
        reached.append(order)
    return reached


def _path_for(order: GatewayOrder, market_data: Bar | Quote) -> BarPath | None:
    """Return the prices that the order meets; None without a trade since it became active."""
    if type(market_data) is Quote:
        if market_data.ts_ns < order.active_ns:
            return None
        return price_path(to_decimal(market_data.ask if order.buying else market_data.bid))
    assert type(market_data) is Bar
    if not market_data.traded or market_data.ts_ns <= order.active_ns:
        return None
    return path_of(market_data) if market_data.open_ns >= order.active_ns else close_of(market_data)


def _next_of(waiting: list[tuple[GatewayOrder, BarPath]]) -> GatewayOrder:
    for fill_of, next_of in ((fill_at_once, next_at_once), (fill_later, next_later)):
        candidates = [
            FillCandidate(order, order.terms, order.order.seq, path, fill)
            for order, path in waiting
            if (fill := fill_of(order, path)) is not None
        ]
        if candidates:
            return next_of(candidates, shares_volume=False).order
    return waiting[0][0]  # stop-limit orders only, which rest
