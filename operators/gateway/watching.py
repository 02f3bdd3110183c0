"""Stops that the gateway watches itself, because the broker's do not work where or when the order shall."""

from __future__ import annotations

from decimal import Decimal

from operators.gateway.working import WorkingOrder
from operators.money import divide, multiply, to_decimal
from schemas.records import TRAILING_STOP, Bar, Quote

_PERCENT = Decimal(100)


def reached_by(order: WorkingOrder, seen: Bar | Quote) -> bool:
    """Whether the market has reached the stop; moves a trailing stop behind the best price.

    A bar touches the stop with its extreme; of a trailing stop the bar's other extreme counts from the next bar on,
    as it may have come later. A buyer's price is the ask, a seller's the bid.
    """
    if type(seen) is Bar:
        if not seen.traded:
            return False
        far, near = (seen.high, seen.low) if order.buying else (seen.low, seen.high)
        return _reached(order, to_decimal(far), to_decimal(near))
    assert type(seen) is Quote
    price = to_decimal(seen.ask if order.buying else seen.bid)
    return _reached(order, price, price)


def _reached(order: WorkingOrder, far: Decimal, near: Decimal) -> bool:
    stop = order.terms.stop_price
    if order.terms.order_type == TRAILING_STOP:
        if order.best is None:
            order.best = near
            return False
        away = order.terms.trail_amount
        if away is None:
            assert order.terms.trail_percent is not None, f"{order.terms.order_id}: a trailing stop without a distance"
            away = divide(multiply(order.best, order.terms.trail_percent), _PERCENT)
        stop = order.best + away if order.buying else order.best - away
        order.best = min(order.best, near) if order.buying else max(order.best, near)
    assert stop is not None, f"{order.terms.order_id}: a stop order without a stop passed risk"
    return far >= stop if order.buying else far <= stop
