"""Fill and end the venue's orders: quantities, prices, fees, positions, and the orders that depend on them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from operators.ledger.split_ratio import units_after_trade
from operators.money import ZERO, multiply, plain, quantize
from operators.venue.account import VenueAccount
from operators.venue.fees import total_fees
from operators.venue.order_book import OrderBook
from operators.venue.reduce_only import NO_POSITION, POSITION_CLOSED, closable_units, loses_position
from operators.venue.reports import VenueReports
from operators.venue.settings import VenueSettings
from operators.venue.slippage import slipped_price
from operators.venue.venue_order import VenueOrder
from operators.venue.venue_rules import VenueRules
from schemas.records import CANCELED, FOK, REGULAR, REPLACED, Bar, ExecType, Record


class VenueFills:
    """Writes the reports of fills and ended orders to `out`, and keeps the book and the positions in step.

    positions      signed positions by symbol, without zeros
    split_symbols  symbols whose positions may have rounding remainders
    activated      orders that a fill of their parent has activated, until the caller takes them

    Between two calls of `end_exits_of_closed`, it notes what the position of a symbol was, and which exits a fill has
    activated, so that the sequence of fills at one price has no effect on what the call ends.
    """

    def __init__(self, settings: VenueSettings, rules: VenueRules, reports: VenueReports) -> None:
        self._settings, self._rules, self._reports = settings, rules, reports
        self.book = OrderBook()
        self.account = VenueAccount(settings)
        self.positions: dict[str, Decimal] = {}
        self.split_symbols: dict[str, None] = {}
        self.activated: list[VenueOrder] = []
        self._positions_before: dict[str, Decimal] = {}
        self._new_exits: list[VenueOrder] = []

    def trade(
        self,
        ts_ns: int,
        order: VenueOrder,
        bar: Bar,
        price: Decimal,
        takes_liquidity: bool,
        volume_left: Decimal | None,
        out: list[Record],
    ) -> Decimal:
        """Fill what the order may trade, up to the bar's volume limit. Return the traded quantity."""
        quantity, terms = order.tradable, order.terms
        if terms.reduce_only:
            quantity = min(quantity, self._closable(order))
            if not quantity:
                if not order.is_held:  # its parent may still open a position
                    self._end_without_position(ts_ns, order, out)
                return ZERO
        if volume_left is not None and volume_left < quantity:
            quantity = self._rules.whole_lots(terms.symbol, max(ZERO, volume_left))
        if not quantity or (terms.time_in_force == FOK and quantity < order.remaining):
            return ZERO
        if takes_liquidity:
            price = slipped_price(self._settings, order, price, quantity, bar.volume)
        affordable = self.account.affordable(order, quantity, price, takes_liquidity)
        if affordable == quantity:
            self._fill(ts_ns, order, bar, quantity, price, takes_liquidity, out)
            if terms.reduce_only and not order.is_held and not self._closable(order):
                self._end_without_position(ts_ns, order, out)
            return quantity
        # As a broker does with a cash account: fill what the cash pays, and cancel the rest.
        if affordable and terms.time_in_force != FOK:
            self._fill(ts_ns, order, bar, affordable, price, takes_liquidity, out)
        else:
            affordable = ZERO
        text = f"insufficient cash: {plain(order.remaining)} units at {plain(price)} cost more than the cash left"
        self.end(ts_ns, order, CANCELED, text, out)
        return affordable

    def end(self, ts_ns: int, order: VenueOrder, exec_type: ExecType, text: str, out: list[Record]) -> None:
        """End an order without a trade. The orders that wait for it end too, or close what it has filled."""
        if not order.is_open:
            return  # already ended together with its parent
        out.append(self._reports.without_fill(ts_ns, order, exec_type, text=text))
        self.book.remove(order)
        if exec_type == REPLACED:
            return
        for child in self.book.held_children(order):
            child.reduce(ZERO if child.waits_for_parent else child.held_back)
            if child.waits_for_parent or not child.remaining:
                self.end(ts_ns, child, CANCELED, f"parent order {order.order_id} ended", out)
            else:
                self.book.release(child)
                if child.terms.reduce_only and not self._closable(child):
                    self.end(ts_ns, child, CANCELED, POSITION_CLOSED, out)

    def end_exits_of_closed(self, ts_ns: int, symbol: str, out: list[Record]) -> None:
        """End the reduce-only orders whose position has been closed since the last call, by whichever order.

        Call it once all orders that trade at one price have traded. Orders that wait for their parent, or for the rest
        of it, remain: the parent may open a position. So do orders that had no position to close before.
        """
        new_exits, self._new_exits = self._new_exits, []
        before = self._positions_before.pop(symbol, None)
        if before is not None:
            self.end_exits_since(ts_ns, symbol, before, out, new_exits)

    def end_exits_since(
        self, ts_ns: int, symbol: str, before: Decimal, out: list[Record], new_exits: Sequence[VenueOrder] = ()
    ) -> None:
        """End the reduce-only orders that have nothing to close, if they had at the position `before` or are new."""
        position = self.positions.get(symbol, ZERO)
        if before * position > 0 and not new_exits:
            return  # fast path: the position is still on the same side
        for order in list(self.book.by_symbol.get(symbol, ())):
            side = order.terms.side
            if not order.terms.reduce_only or order.is_held or closable_units(position, side):
                continue
            if loses_position(side, before, position) or order in new_exits:
                self.end(ts_ns, order, CANCELED, POSITION_CLOSED, out)

    def _closable(self, order: VenueOrder) -> Decimal:
        return closable_units(self.positions.get(order.terms.symbol, ZERO), order.terms.side)

    def _end_without_position(self, ts_ns: int, order: VenueOrder, out: list[Record]) -> None:
        """End a reduce-only order that has nothing left to close, and the other exits of its OCO group with it."""
        if not order.is_open:
            return  # filled
        exits = [
            other
            for other in self.book.group_of(order)
            if other.terms.reduce_only
            and not other.is_held
            and other.terms.symbol == order.terms.symbol
            and other.buying is order.buying
        ]
        for ended in (order, *exits):
            self.end(ts_ns, ended, CANCELED, NO_POSITION, out)

    def _fill(
        self,
        ts_ns: int,
        order: VenueOrder,
        bar: Bar,
        quantity: Decimal,
        price: Decimal,
        takes_liquidity: bool,
        out: list[Record],
    ) -> None:
        value, symbol = multiply(quantity, price), order.terms.symbol
        order.cum_quantity += quantity
        order.traded_value += value
        order.taker_value += value if takes_liquidity else ZERO
        # The total fees due minus the fees that earlier fills paid, so that the minimum counts once.
        fees_due = total_fees(
            self._settings, order.terms.side, order.cum_quantity, order.traded_value, order.taker_value
        )
        fee, order.fees = max(ZERO, fees_due - order.fees), max(fees_due, order.fees)
        signed_quantity = quantity if order.buying else -quantity
        previous = self.positions.get(symbol, ZERO)
        self._positions_before.setdefault(symbol, previous)
        position = units_after_trade(previous, signed_quantity, was_split=symbol in self.split_symbols)
        if position:
            self.positions[symbol] = position
        else:
            self.positions.pop(symbol, None)
        self.account.book(symbol, signed_quantity, price, quantize(fee))
        out.append(self._reports.fill(ts_ns, order, bar, quantity, price, quantize(fee)))
        if not order.remaining:
            self.book.remove(order)
        self._reduce_group(ts_ns, order, quantity, out)
        for child in self.book.held_children(order):
            if child.waits_for_parent:
                child.active_ns = max(child.active_ns, bar.ts_ns)
                if bar.session == REGULAR:
                    child.auction_after_day = bar.trading_day
                self.activated.append(child)
            self.book.release(child, quantity if order.remaining else None)
            self._new_exits.append(child)

    def _reduce_group(self, ts_ns: int, order: VenueOrder, traded: Decimal, out: list[Record]) -> None:
        """Reduce the other orders of an OCO group by the traded quantity.

        They are cancelled if the order is filled, if nothing is left of them, or if they are on the other side.
        """
        for other in self.book.group_of(order):
            if order.remaining and other.buying is order.buying and other.remaining > traded:
                other.reduce(traded)
                other.held_back = min(other.held_back, other.remaining)
            else:
                text = f"OCO: {order.order_id} of group {order.terms.group_id} traded"
                self.end(ts_ns, other, CANCELED, text, out)
