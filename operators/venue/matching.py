"""At which price an order trades within one bar, if at all. A bar does not say whether high or low came first.

Only what holds on every path from open to close is used: the open comes first, and a price that the bar touched was
traded at. An order that is triggered inside the bar is not also filled at a price that may have come before.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.money import divide, multiply, to_decimal
from operators.venue.venue_order import VenueOrder
from schemas.records import CLS, FOK, IOC, LIMIT, MARKET, OPG, STOP, STOP_LIMIT, TRAILING_STOP, Bar

_PERCENT = Decimal(100)


class PriceMatch(NamedTuple):
    """A price to trade at; `takes_liquidity` liquidity, so that slippage is added and the taker's fee is due."""

    price: Decimal
    takes_liquidity: bool


def match_price(order: VenueOrder, bar: Bar) -> PriceMatch | None:
    """Where a working order trades in a bar with a trade. Notes on the order that a stop was triggered."""
    open_price = to_decimal(bar.open)
    if order.order_type in (MARKET, LIMIT) or order.stop_triggered:
        return _match_price_or_limit(order, bar, open_price)
    if order.order_type == TRAILING_STOP:
        return _match_trailing_stop(order, bar, open_price)
    stop = order.stop_price
    assert stop is not None, f"{order.order_id}: a stop order without a stop passed risk"
    if _stop_reached(order, open_price, stop):
        # The market opened beyond the stop: it is triggered at the open, and the whole bar comes after.
        order.stop_triggered = True
        return _match_price_or_limit(order, bar, open_price)
    if not _stop_reached(order, _stop_side_extreme(order, bar), stop):
        return None
    order.stop_triggered = True
    if order.order_type == STOP:
        return PriceMatch(stop, takes_liquidity=True)
    limit = order.limit_price
    assert limit is not None, f"{order.order_id}: a stop-limit order without a limit passed risk"
    # At the trigger the market is at the stop: fill there if the limit allows it, else rest from the next bar on.
    return PriceMatch(stop, takes_liquidity=True) if (stop <= limit if order.buying else stop >= limit) else None


def _match_price_or_limit(order: VenueOrder, bar: Bar, open_price: Decimal) -> PriceMatch | None:
    """A market or limit order, or a stop that was triggered before or at the open."""
    limit = order.limit_price
    if limit is None:
        return PriceMatch(open_price, takes_liquidity=True)
    if open_price <= limit if order.buying else open_price >= limit:
        return PriceMatch(open_price, takes_liquidity=not order.in_book)
    if order.time_in_force in (IOC, FOK, OPG, CLS):
        return None  # wants the price of the moment only
    limit_side_extreme = to_decimal(bar.low if order.buying else bar.high)
    return (
        PriceMatch(limit, takes_liquidity=False)
        if (limit_side_extreme <= limit if order.buying else limit_side_extreme >= limit)
        else None
    )


def _match_trailing_stop(order: VenueOrder, bar: Bar, open_price: Decimal) -> PriceMatch | None:
    """The stop stands where the best price before this bar put it; this bar's extreme moves it for the next."""
    best = open_price if order.best_price is None else order.best_price
    stop = _trailing_stop_price(order, best)
    if _stop_reached(order, open_price, stop):
        order.stop_triggered = True
        return PriceMatch(open_price, takes_liquidity=True)
    if _stop_reached(order, _stop_side_extreme(order, bar), stop):
        order.stop_triggered = True
        return PriceMatch(stop, takes_liquidity=True)
    extreme = to_decimal(bar.low if order.buying else bar.high)
    order.best_price = min(best, extreme) if order.buying else max(best, extreme)
    return None


def _trailing_stop_price(order: VenueOrder, best: Decimal) -> Decimal:
    distance = order.trail_amount
    if distance is None:
        assert order.trail_percent is not None, f"{order.order_id}: a trailing stop without a distance passed risk"
        distance = divide(multiply(best, order.trail_percent), _PERCENT)
    return best + distance if order.buying else best - distance


def _stop_reached(order: VenueOrder, price: Decimal, stop: Decimal) -> bool:
    """A buy stop is reached from below, a sell stop from above."""
    return price >= stop if order.buying else price <= stop


def _stop_side_extreme(order: VenueOrder, bar: Bar) -> Decimal:
    """The bar's extreme on the side where the order's stop is."""
    return to_decimal(bar.high if order.buying else bar.low)


def trades_at_any_price(order: VenueOrder) -> bool:
    """Whether the order trades at any price once it trades at all."""
    return order.order_type in (MARKET, STOP, TRAILING_STOP)


def has_stop(order: VenueOrder) -> bool:
    return order.order_type in (STOP, STOP_LIMIT, TRAILING_STOP)
