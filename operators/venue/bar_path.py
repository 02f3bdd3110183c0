"""What a bar proves about an order: whether it trades, at which price, and how its stop moves.

A bar gives open, high, low and close, but neither the order of high and low nor the turns between them. The price is
taken to move from the open to the close, through high and low, without a gap. An order trades only if it trades on
every such path, and at the price of the path that is worst for its owner. The simulated venue and the gateway's own
stops use the same functions.

A `BarPath` is the part of a bar that follows one moment: the open, the moment at which a price was first reached, or
the close. `low` and `high` are the prices that every path reaches after that moment. After the open that is the whole
bar. After a level inside the bar, it is the extreme beyond the level and the close:

    open 100, low 94, high 103, close 98, and the price falls to 95:
    every path reaches 94 and 98 afterwards, but the high of 103 may have come before.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple, Protocol

from operators.money import divide, multiply, to_decimal
from schemas.records import BUY, LIMIT, MARKET, STOP, STOP_LIMIT, TRAILING_STOP, Bar, OrderTerms

_PERCENT = Decimal(100)
_STOP_TYPES = (STOP, STOP_LIMIT, TRAILING_STOP)


class OrderInBar(Protocol):
    """The terms of an order, and the state of its stop.

    stop_triggered  whether its stop price was reached before
    best_price      trailing stop: the best price so far; None before the first price
    """

    @property
    def terms(self) -> OrderTerms: ...
    @property
    def stop_triggered(self) -> bool: ...
    @property
    def best_price(self) -> Decimal | None: ...


class BarPath(NamedTuple):
    """The part of a bar after one moment.

    price          the price at that moment
    low, high      lowest and highest price that every path reaches from then on, the moment included
    close          the price at the end
    bar_low, bar_high  the extremes of the whole bar, which may come later too
    """

    price: Decimal
    low: Decimal
    high: Decimal
    close: Decimal
    bar_low: Decimal
    bar_high: Decimal

    def after(self, level: Decimal) -> BarPath:
        """Return the part after `level` is first reached. Every path must reach it."""
        if level <= self.price:
            return self._replace(price=level, high=max(level, self.close))
        return self._replace(price=level, low=min(level, self.close))

    def after_unknown_moment(self, price: Decimal) -> BarPath:
        """Return the part after a moment at `price`, of which only the close is known to come later."""
        return self._replace(price=price, low=min(price, self.close), high=max(price, self.close))

    def with_all_possible(self) -> BarPath:
        """Return the same moment with the extremes that may follow, instead of those that every path reaches."""
        return self._replace(low=self.bar_low, high=self.bar_high)


class PathFill(NamedTuple):
    """The fill of an order on a path.

    price            the fill price
    takes_liquidity  whether slippage and the taker fee apply, except that a resting limit at the open adds liquidity
    level            the price that the market must reach first; equal to the path's price for a fill at once
    is_stop          whether a stop is triggered on the way
    path             the part of the bar after the fill
    """

    price: Decimal
    takes_liquidity: bool
    level: Decimal
    is_stop: bool
    path: BarPath


def path_of(bar: Bar) -> BarPath:
    """Return the path of a bar with a trade from its open on."""
    low, high = to_decimal(bar.low), to_decimal(bar.high)
    return BarPath(to_decimal(bar.open), low, high, to_decimal(bar.close), low, high)


def close_of(bar: Bar) -> BarPath:
    """Return the end of a bar: for an order that arrived inside it, only the close is known to come later."""
    close = to_decimal(bar.close)
    return BarPath(close, close, close, close, close, close)


def price_path(price: Decimal) -> BarPath:
    """Return the path of a single price, such as one side of a quote."""
    return BarPath(price, price, price, price, price, price)


def fill_at_once(order: OrderInBar, path: BarPath) -> PathFill | None:
    """Return the fill at the path's first price, or None. A trailing stop first moves its best price there."""
    price, terms = path.price, order.terms
    is_stop = has_stop(terms) and not order.stop_triggered
    if is_stop and not _at_or_beyond(terms, price, _stop_price(order, price)):
        return None
    limit = terms.limit_price
    if limit is not None and not _limit_allows(terms, limit, price):
        return None
    return PathFill(price, takes_liquidity=True, level=price, is_stop=is_stop, path=path)


def fill_later(order: OrderInBar, path: BarPath) -> PathFill | None:
    """Return the fill after the path's first price, or None. The order must not fill at once."""
    terms = order.terms
    if has_stop(terms) and not order.stop_triggered:
        return _fill_of_stop(order, path)
    limit = terms.limit_price
    return None if limit is None else _fill_of_limit(terms, limit, path)


def stop_after(order: OrderInBar, path: BarPath) -> tuple[bool, Decimal | None]:
    """Return `(stop_triggered, best_price)` at the end of the path, for an order that has not traded on it."""
    terms = order.terms
    if order.stop_triggered or not has_stop(terms):
        return order.stop_triggered, order.best_price
    if stop_reached(order, path):
        return True, order.best_price
    if terms.order_type != TRAILING_STOP:
        return False, None
    return False, _better(terms, _best_price(order, path.price), path.low if terms.side == BUY else path.high)


def stop_reached(order: OrderInBar, path: BarPath) -> bool:
    """Whether the market reaches the order's stop on the path."""
    terms = order.terms
    stop = _stop_price(order, path.price)
    if _at_or_beyond(terms, path.high if terms.side == BUY else path.low, stop):
        return True
    return terms.order_type == TRAILING_STOP and _close_proves_trail(terms, path)


def has_stop(terms: OrderTerms) -> bool:
    return terms.order_type in _STOP_TYPES


def trades_at_any_price(terms: OrderTerms) -> bool:
    """Whether the order has no limit price, so that it trades at any price once it is active."""
    return terms.order_type in (MARKET, STOP, TRAILING_STOP)


def rests_in_book(order: OrderInBar) -> bool:
    """Whether the order is a limit order now, so that it adds liquidity while it waits."""
    return order.terms.order_type == LIMIT or (order.terms.order_type == STOP_LIMIT and order.stop_triggered)


def _fill_of_limit(terms: OrderTerms, limit: Decimal, path: BarPath) -> PathFill | None:
    if not _limit_allows(terms, limit, path.low if terms.side == BUY else path.high):
        return None
    return PathFill(limit, takes_liquidity=False, level=limit, is_stop=False, path=path.after(limit))


def _fill_of_stop(order: OrderInBar, path: BarPath) -> PathFill | None:
    terms, stop = order.terms, _stop_price(order, path.price)
    limit = terms.limit_price
    if _at_or_beyond(terms, path.price, stop):
        # Triggered at once, beyond its limit: the order rests as a limit order.
        assert limit is not None, f"{terms.symbol}: a stop without a limit has filled at once"
        return _fill_of_limit(terms, limit, path)
    if _at_or_beyond(terms, path.high if terms.side == BUY else path.low, stop):
        after = path.after(stop)
        if limit is None or _limit_allows(terms, limit, stop):
            return PathFill(stop, takes_liquidity=True, level=stop, is_stop=True, path=after)
        resting = _fill_of_limit(terms, limit, after)
        return None if resting is None else resting._replace(level=stop, is_stop=True)
    if terms.order_type != TRAILING_STOP or not _close_proves_trail(terms, path):
        return None
    # The worst path goes straight to the stop, as far as the bar goes there.
    price = min(stop, path.bar_high) if terms.side == BUY else max(stop, path.bar_low)
    after = path.after_unknown_moment(price)
    return PathFill(price, takes_liquidity=True, level=price, is_stop=True, path=after)


def _close_proves_trail(terms: OrderTerms, path: BarPath) -> bool:
    """Whether the close lies beyond the trail of the best price on the path, so that the stop was reached before."""
    best = path.low if terms.side == BUY else path.high
    return _at_or_beyond(terms, path.close, _trail_price(terms, best))


def _stop_price(order: OrderInBar, price: Decimal) -> Decimal:
    """Return the stop price once the market is at `price`."""
    terms = order.terms
    if terms.order_type == TRAILING_STOP:
        return _trail_price(terms, _best_price(order, price))
    assert terms.stop_price is not None, f"{terms.symbol}: risk approved a stop order without a stop price"
    return terms.stop_price


def _best_price(order: OrderInBar, price: Decimal) -> Decimal:
    return price if order.best_price is None else _better(order.terms, order.best_price, price)


def _better(terms: OrderTerms, one: Decimal, other: Decimal) -> Decimal:
    """Return the price that is better for the owner of a trailing stop: the lower one for a buy."""
    return min(one, other) if terms.side == BUY else max(one, other)


def _trail_price(terms: OrderTerms, best: Decimal) -> Decimal:
    distance = terms.trail_amount
    if distance is None:
        assert terms.trail_percent is not None, f"{terms.symbol}: risk approved a trailing stop without a distance"
        distance = divide(multiply(best, terms.trail_percent), _PERCENT)
    return best + distance if terms.side == BUY else best - distance


def _at_or_beyond(terms: OrderTerms, price: Decimal, stop: Decimal) -> bool:
    """Whether `price` triggers a stop: a buy stop is reached from below, a sell stop from above."""
    return price >= stop if terms.side == BUY else price <= stop


def _limit_allows(terms: OrderTerms, limit: Decimal, price: Decimal) -> bool:
    return price <= limit if terms.side == BUY else price >= limit
