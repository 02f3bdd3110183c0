"""Determine the price at which an order trades within one bar, if any.

A bar does not contain the order of its high and low. The matching uses only what is true for every path from open to
close: the open comes first, and every price between low and high traded. An order that is triggered inside the bar is
not filled at a price that may have occurred before the trigger.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.money import divide, multiply, to_decimal
from operators.venue.venue_order import VenueOrder
from schemas.records import CLS, FOK, IOC, LIMIT, MARKET, OPG, STOP, STOP_LIMIT, TRAILING_STOP, Bar

_PERCENT = Decimal(100)


class PriceMatch(NamedTuple):
    """A fill price. If `takes_liquidity`, slippage and the taker fee apply."""

    price: Decimal
    takes_liquidity: bool


def match_price(order: VenueOrder, bar: Bar) -> PriceMatch | None:
    """Return the price at which an open order trades in a bar with a trade, or None. Updates the order's stop state."""
    open_price = to_decimal(bar.open)
    if order.order_type in (MARKET, LIMIT) or order.stop_triggered:
        return _match_price_or_limit(order, bar, open_price)
    if order.order_type == TRAILING_STOP:
        return _match_trailing_stop(order, bar, open_price)
    stop = order.stop_price
    assert stop is not None, f"{order.order_id}: risk approved a stop order without a stop price"
    if _stop_reached(order, open_price, stop):
        # The market opened beyond the stop. The order is triggered at the open, before the rest of the bar.
        order.stop_triggered = True
        return _match_price_or_limit(order, bar, open_price)
    if not _stop_reached(order, _stop_side_extreme(order, bar), stop):
        return None
    order.stop_triggered = True
    if order.order_type == STOP:
        return PriceMatch(stop, takes_liquidity=True)
    limit = order.limit_price
    assert limit is not None, f"{order.order_id}: risk approved a stop-limit order without a limit price"
    # At the trigger, the market is at the stop price: fill there if the limit allows it, or rest from the next bar on.
    return PriceMatch(stop, takes_liquidity=True) if (stop <= limit if order.buying else stop >= limit) else None


def _match_price_or_limit(order: VenueOrder, bar: Bar, open_price: Decimal) -> PriceMatch | None:
    """Match a market or limit order, or a stop order that was triggered before or at the open."""
    limit = order.limit_price
    if limit is None:
        return PriceMatch(open_price, takes_liquidity=True)
    if open_price <= limit if order.buying else open_price >= limit:
        return PriceMatch(open_price, takes_liquidity=not order.in_book)
    if order.time_in_force in (IOC, FOK, OPG, CLS):
        return None  # these orders trade only at the open price
    limit_side_extreme = to_decimal(bar.low if order.buying else bar.high)
    return (
        PriceMatch(limit, takes_liquidity=False)
        if (limit_side_extreme <= limit if order.buying else limit_side_extreme >= limit)
        else None
    )


def _match_trailing_stop(order: VenueOrder, bar: Bar, open_price: Decimal) -> PriceMatch | None:
    """Match a trailing stop. Its stop price follows the best price before this bar; this bar moves it for the next."""
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
        assert order.trail_percent is not None, f"{order.order_id}: risk approved a trailing stop without a distance"
        distance = divide(multiply(best, order.trail_percent), _PERCENT)
    return best + distance if order.buying else best - distance


def _stop_reached(order: VenueOrder, price: Decimal, stop: Decimal) -> bool:
    """A buy stop is reached from below, a sell stop from above."""
    return price >= stop if order.buying else price <= stop


def _stop_side_extreme(order: VenueOrder, bar: Bar) -> Decimal:
    """The bar's extreme on the stop's side: the high for a buy, the low for a sell."""
    return to_decimal(bar.high if order.buying else bar.low)


def trades_at_any_price(order: VenueOrder) -> bool:
    """Whether the order has no limit price, so that it trades at any price once it is active."""
    return order.order_type in (MARKET, STOP, TRAILING_STOP)


def has_stop(order: VenueOrder) -> bool:
    return order.order_type in (STOP, STOP_LIMIT, TRAILING_STOP)
