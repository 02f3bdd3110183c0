"""At which price an order trades within one bar, if at all. A bar does not say whether high or low came first.

Only what holds on every path from open to close is used: the open comes first, and a price that the bar touched was
traded at. An order that is triggered inside the bar is not also filled at a price that may have come before.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.money import divide, multiply, to_decimal
from operators.venue.working import WorkingOrder
from schemas.records import CLS, FOK, IOC, LIMIT, MARKET, OPG, STOP, STOP_LIMIT, TRAILING_STOP, Bar

_PERCENT = Decimal(100)


class Match(NamedTuple):
    """A price to trade at; `takes` liquidity, so that slippage is added and the taker's fee is due."""

    price: Decimal
    takes: bool


def match(order: WorkingOrder, bar: Bar) -> Match | None:
    """Where a working order trades in a bar with a trade. Notes on the order that a stop was triggered."""
    opened = to_decimal(bar.open)
    if order.order_type in (MARKET, LIMIT) or order.triggered:
        return _plain(order, bar, opened)
    if order.order_type == TRAILING_STOP:
        return _trail(order, bar, opened)
    stop = order.stop_price
    assert stop is not None, f"{order.order_id}: a stop order without a stop passed risk"
    if _reached(order, opened, stop):
        # The market opened beyond the stop: it is triggered at the open, and the whole bar comes after.
        order.triggered = True
        return _plain(order, bar, opened)
    if not _reached(order, _far(order, bar), stop):
        return None
    order.triggered = True
    if order.order_type == STOP:
        return Match(stop, takes=True)
    limit = order.limit_price
    assert limit is not None, f"{order.order_id}: a stop-limit order without a limit passed risk"
    # At the trigger the market is at the stop: fill there if the limit allows it, else rest from the next bar on.
    return Match(stop, takes=True) if (stop <= limit if order.buying else stop >= limit) else None


def _plain(order: WorkingOrder, bar: Bar, opened: Decimal) -> Match | None:
    """A market or limit order, or a stop that was triggered before or at the open."""
    limit = order.limit_price
    if limit is None:
        return Match(opened, takes=True)
    if opened <= limit if order.buying else opened >= limit:
        return Match(opened, takes=not order.rests)
    if order.time_in_force in (IOC, FOK, OPG, CLS):
        return None  # wants the price of the moment only
    near = to_decimal(bar.low if order.buying else bar.high)
    return Match(limit, takes=False) if (near <= limit if order.buying else near >= limit) else None


def _trail(order: WorkingOrder, bar: Bar, opened: Decimal) -> Match | None:
    """The stop stands where the best price before this bar put it; this bar's extreme moves it for the next."""
    best = opened if order.best is None else order.best
    stop = _trailed(order, best)
    if _reached(order, opened, stop):
        order.triggered = True
        return Match(opened, takes=True)
    if _reached(order, _far(order, bar), stop):
        order.triggered = True
        return Match(stop, takes=True)
    extreme = to_decimal(bar.low if order.buying else bar.high)
    order.best = min(best, extreme) if order.buying else max(best, extreme)
    return None


def _trailed(order: WorkingOrder, best: Decimal) -> Decimal:
    distance = order.trail_amount
    if distance is None:
        assert order.trail_percent is not None, f"{order.order_id}: a trailing stop without a distance passed risk"
        distance = divide(multiply(best, order.trail_percent), _PERCENT)
    return best + distance if order.buying else best - distance


def _reached(order: WorkingOrder, price: Decimal, stop: Decimal) -> bool:
    """A buy stop is reached from below, a sell stop from above."""
    return price >= stop if order.buying else price <= stop


def _far(order: WorkingOrder, bar: Bar) -> Decimal:
    """The bar's extreme on the side where the order's stop is."""
    return to_decimal(bar.high if order.buying else bar.low)


def without_limit(order: WorkingOrder) -> bool:
    """Whether the order trades at any price once it trades at all."""
    return order.order_type in (MARKET, STOP, TRAILING_STOP)


def has_stop(order: WorkingOrder) -> bool:
    return order.order_type in (STOP, STOP_LIMIT, TRAILING_STOP)
