"""Trigger stop orders in the gateway, for symbols and sessions in which the broker does not support stops."""

from __future__ import annotations

from decimal import Decimal

from operators.gateway.gateway_order import GatewayOrder
from operators.money import divide, multiply, to_decimal
from schemas.records import TRAILING_STOP, Bar, Quote

_PERCENT = Decimal(100)


def update_stop(order: GatewayOrder, market_data: Bar | Quote) -> bool:
    """Return whether the market has reached the stop. A trailing stop then follows the best price.

    A bar reaches the stop with its extreme. The bar's other extreme moves a trailing stop from the next bar on, because
    it may have occurred later. In a quote, the ask counts for a buy and the bid for a sell.
    """
    if type(market_data) is Bar:
        if not market_data.traded:
            return False
        far_price, near_price = (
            (market_data.high, market_data.low) if order.buying else (market_data.low, market_data.high)
        )
        return _stop_reached(order, to_decimal(far_price), to_decimal(near_price))
    assert type(market_data) is Quote
    price = to_decimal(market_data.ask if order.buying else market_data.bid)
    return _stop_reached(order, price, price)


def _stop_reached(order: GatewayOrder, far_price: Decimal, near_price: Decimal) -> bool:
    stop = order.terms.stop_price
    if order.terms.order_type == TRAILING_STOP:
        if order.best_price is None:
            order.best_price = near_price
            return False
        distance = order.terms.trail_amount
        if distance is None:
            assert order.terms.trail_percent is not None, f"{order.terms.order_id}: trailing stop without a distance"
            distance = divide(multiply(order.best_price, order.terms.trail_percent), _PERCENT)
        stop = order.best_price + distance if order.buying else order.best_price - distance
        order.best_price = min(order.best_price, near_price) if order.buying else max(order.best_price, near_price)
    assert stop is not None, f"{order.terms.order_id}: risk approved a stop order without a stop price"
    return far_price >= stop if order.buying else far_price <= stop
