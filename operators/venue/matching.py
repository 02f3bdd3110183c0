"""Match the open orders of a symbol against one bar or one side of a quote.

Orders that trade at the open come first, then those that trade inside the bar, then those that trade at the close.
`operators/venue/bar_path.py` determines which orders trade and at which price, `operators/venue/fill_sequence.py` which
one is next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from operators.money import to_decimal
from operators.time_text import iso
from operators.venue.bar_path import (
    BarPath,
    PathFill,
    close_of,
    fill_at_once,
    fill_later,
    has_stop,
    path_of,
    rests_in_book,
    stop_after,
)
from operators.venue.fill_sequence import FillCandidate, next_at_once, next_later
from operators.venue.fills import VenueFills
from operators.venue.venue_order import VenueOrder
from schemas.records import (
    CANCELED,
    CLS,
    EXPIRED,
    FOK,
    IOC,
    LIMIT,
    MARKET,
    OPG,
    TRAILING_STOP,
    Bar,
    ExecType,
    OrderTerms,
    Quote,
    Record,
    SessionPhase,
)

_AT_ONCE_ONLY = (IOC, FOK, OPG, CLS)
_PRICE_MARGIN = 1e-9


class BarMatch:
    """The orders of one symbol in one bar with a trade, or at one side of a quote.

    may_trade    whether an order that a fill activates may trade in the bar
    volume_left  quantity that the orders may still trade in the bar; None if unlimited
    """

    def __init__(
        self,
        fills: VenueFills,
        may_trade: Callable[[VenueOrder, Bar], bool],
        ts_ns: int,
        bar: Bar,
        volume_left: Decimal | None,
        out: list[Record],
    ) -> None:
        self._fills, self._may_trade = fills, may_trade
        self._ts_ns, self._bar, self._out = ts_ns, bar, out
        self.volume_left = volume_left
        self._is_quote = not bar.seq
        self._inside = False  # whether the open is over
        self._in_auction = False  # of the close
        self._next_auction: list[VenueOrder] = []
        # The orders that have not traded in this bar yet, with the part of the bar in which they work.
        self._working: dict[VenueOrder, BarPath] = {}

    def run(self, orders: Sequence[VenueOrder]) -> None:
        """Match `orders`, which are allowed to trade in this bar and, except at a quote, those that they activate."""
        bar = self._bar
        if self.volume_left is None and all(_is_plain_market(one) and one.active_ns <= bar.open_ns for one in orders):
            # Most orders: they trade at the open, whatever the rest of the bar is.
            for order in orders:
                self._trade_plain(order)
            self._fills.end_exits_of_closed(self._ts_ns, bar.symbol, self._out)
            if not self._fills.activated:
                return
            self._start_activated(path_of(bar))
            orders = ()
        late: list[VenueOrder] = []
        on_time: list[VenueOrder] = []
        for order in orders:
            if bar.open_ns < order.active_ns and not self._is_quote:
                late.append(order)
            elif _is_out_of_reach(order, bar):
                order.in_book = True
            else:
                on_time.append(order)
        if on_time:
            self._working |= dict.fromkeys(on_time, close_of(bar) if self._is_quote else path_of(bar))
        if not self._working and not late:
            return
        self._trade_at_once()
        self._inside = True
        if not self._is_quote:
            self._trade_later()
        if late:
            self.run_at_close([order for order in late if order.is_open and not self._expires_inside(order)])
        for order, path in self._working.items():
            if order.is_open:
                order.stop_triggered, order.best_price = stop_after(order, path)
                order.in_book = True

    def run_auction(self, orders: Iterable[VenueOrder]) -> list[VenueOrder]:
        """Match on-close orders at the close. Return the on-close orders that this activates, for the next auction.

        The session has no later price, so that all orders that these fills activate start with the next bar.
        """
        self._in_auction = True
        self.run_at_close(orders)
        return self._next_auction

    def run_at_close(self, orders: Iterable[VenueOrder]) -> None:
        """Match orders at the close, such as those that arrived inside the bar."""
        bar, others = self._bar, self._working
        self._bar = bar._replace(open_ns=bar.ts_ns)  # fills are reported at the close
        self._working = dict.fromkeys(orders, close_of(bar))
        self._trade_at_once()
        self._bar, self._working = bar, others | self._working

    def _trade_at_once(self) -> None:
        """Fill orders at the first price of their path, then end those that may trade at no other price."""
        while candidates := self._candidates(fill_at_once):
            self._trade(next_at_once(candidates, shares_volume=self.volume_left is not None))
        for order in list(self._working):
            self._end_if_at_once_only(order)
        self._fills.end_exits_of_closed(self._ts_ns, self._bar.symbol, self._out)
        self._drop_ended_orders()

    def _trade_later(self) -> None:
        """Fill the orders that trade inside the bar, one at a time."""
        while candidates := self._candidates(fill_later):
            one = next_later(candidates, shares_volume=self.volume_left is not None)
            self._trade(self._possible_stop_before(one))
            self._trade_at_once()

    def _candidates(self, fill_of: Callable[[VenueOrder, BarPath], PathFill | None]) -> list[FillCandidate[VenueOrder]]:
        return [
            FillCandidate(order, order.terms, order.seq, path, fill)
            for order, path in self._working.items()
            if (fill := fill_of(order, path)) is not None
        ]

    def _possible_stop_before(self, one: FillCandidate[VenueOrder]) -> FillCandidate[VenueOrder]:
        """Return the stop of the same OCO group that may have traded before a limit order, if there is one.

        The group trades on every path, but the path that is worse for the owner reaches the stop first.
        """
        group_id = one.order.terms.group_id
        if one.fill.is_stop or not group_id:
            return one
        for other, path in self._working.items():
            if other.terms.group_id != group_id or not has_stop(other.terms) or other.stop_triggered:
                continue
            fill = fill_later(other, path.with_all_possible())
            if fill is not None and (fill.level > path.price) != one.is_upwards:
                fill = fill._replace(path=path.after_unknown_moment(fill.price))
                return FillCandidate(other, other.terms, other.seq, path, fill)
        return one

    def _trade_plain(self, order: VenueOrder) -> None:
        price = to_decimal(self._bar.open)
        self._fills.trade(self._ts_ns, order, self._bar, price, True, None, self._out)
        order.in_book = True
        self._end_if_at_once_only(order)

    # -- changes -------------------------------------------------------------------------------------------------------

    def _trade(self, one: FillCandidate[VenueOrder]) -> None:
        order, fill = one.order, one.fill
        del self._working[order]
        if not order.tradable:
            return  # all of it waits for further fills of its parent
        price, takes_liquidity = fill.price, fill.takes_liquidity
        if takes_liquidity and order.in_book and rests_in_book(order):
            takes_liquidity = False
            limit = order.terms.limit_price
            if self._is_quote and limit is not None:
                price = limit  # a resting order trades at its own price
        order.stop_triggered |= fill.is_stop
        traded = self._fills.trade(self._ts_ns, order, self._bar, price, takes_liquidity, self.volume_left, self._out)
        order.in_book = True
        if self.volume_left is not None:
            self.volume_left -= traded
        self._drop_ended_orders()
        self._start_activated(fill.path)
        self._end_if_at_once_only(order)

    def _drop_ended_orders(self) -> None:
        """Remove the orders that the fill of another one has cancelled."""
        ended = [order for order in self._working if not order.is_open]
        for order in ended:
            del self._working[order]

    def _start_activated(self, path: BarPath) -> None:
        """Let the orders that a fill has activated work in the part of the bar after the fill.

        At a quote, the caller takes them: they may trade at its other side.
        """
        if self._is_quote:
            return
        activated, self._fills.activated = self._fills.activated, []
        for order in activated:
            if not order.is_open or order.terms.symbol != self._bar.symbol:
                continue
            if self._in_auction:
                if order.terms.order_type == TRAILING_STOP:
                    order.best_price = path.price
                if order.terms.time_in_force == CLS:
                    self._next_auction.append(order)
                continue
            if order.terms.time_in_force in (OPG, CLS):
                continue
            if self._may_trade(order, self._bar) and not (self._inside and self._expires_inside(order)):
                self._working[order] = path

    def _end_if_at_once_only(self, order: VenueOrder) -> None:
        """End an order that trades at the first price only, or that expires inside the bar."""
        terms = order.terms
        if not order.is_open or not order.remaining:
            return
        if terms.time_in_force in _AT_ONCE_ONLY:
            exec_type: ExecType = EXPIRED if terms.time_in_force in (OPG, CLS) else CANCELED
            text = f"{terms.time_in_force}: remaining quantity not filled"
        elif self._expires_inside(order):
            exec_type, text = EXPIRED, expiry_text(terms)
        else:
            return
        self._working.pop(order, None)
        self._fills.end(self._ts_ns, order, exec_type, text, self._out)
        self._drop_ended_orders()

    def _expires_inside(self, order: VenueOrder) -> bool:
        """Whether the order expires before the end of the bar, so that only the open certainly comes before."""
        expires_ns = order.terms.expires_ns
        return expires_ns is not None and expires_ns < self._bar.ts_ns


def quote_bars(quote: Quote, session: SessionPhase, trading_day: int) -> tuple[Bar, Bar]:
    """Return the ask and the bid of a quote as bars with one price, whose volume is the size."""
    ask_bar = Bar(
        symbol=quote.symbol,
        seq=0,
        ts_ns=quote.ts_ns,
        open_ns=quote.ts_ns,
        open=quote.ask,
        high=quote.ask,
        low=quote.ask,
        close=quote.ask,
        volume=quote.ask_size,
        session=session,
        trading_day=trading_day,
        traded=True,
    )
    bid = quote.bid
    return ask_bar, ask_bar._replace(open=bid, high=bid, low=bid, close=bid, volume=quote.bid_size)


def expiry_text(terms: OrderTerms) -> str:
    assert terms.expires_ns is not None, f"{terms.symbol}: the order has no expiry"
    return f"good-till date reached: {iso(terms.expires_ns)}"


def _is_plain_market(order: VenueOrder) -> bool:
    """Whether the order trades at the open and depends on no other order."""
    terms = order.terms
    return terms.order_type == MARKET and not terms.group_id and not terms.reduce_only


def _is_out_of_reach(order: VenueOrder, bar: Bar) -> bool:
    """Whether the bar certainly stays away from the order's level: most bars of a resting order.

    A quick test of floats, with a margin of the nine decimals to which prices are rounded.
    """
    terms = order.terms
    if terms.order_type == LIMIT:
        level, is_below = terms.limit_price, order.buying
    else:
        level, is_below = terms.stop_price, not order.buying
    if level is None or order.stop_triggered or terms.time_in_force in _AT_ONCE_ONLY:
        return False
    return float(level) < bar.low - _PRICE_MARGIN if is_below else float(level) > bar.high + _PRICE_MARGIN
