"""The stage of the simulated venue: match open orders against bars or quotes.

A decision uses the bars up to one clock record, and its order reaches the venue before the next bar. The first price at
which it can trade is therefore the open of the next bar. A bar without a trade fills no order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from operators.ledger.events import apply_to_quantities
from operators.ledger.lots import DUST
from operators.money import ONE, ZERO, multiply, quantize, to_decimal
from operators.order_lifecycle import FINAL_STATES, OrderEvent, next_state
from operators.reference_data import ReferenceData
from operators.venue.fees import total_fees
from operators.venue.matching import PriceMatch, match_price, trades_at_any_price
from operators.venue.settings import VenueSettings
from operators.venue.slippage import slippage_fraction
from operators.venue.venue_order import VenueOrder
from operators.venue.venue_rules import VenueRules
from schemas.records import (
    CANCELED,
    CASH_DIVIDEND,
    CLS,
    DAY,
    EXPIRED,
    FOK,
    HALTED,
    IOC,
    NEW,
    OPG,
    REDUCING,
    REGULAR,
    REJECTED,
    REPLACED,
    TRADE,
    Bar,
    CorporateAction,
    ExchangeRate,
    Execution,
    Order,
    OrderCancel,
    Quote,
    Record,
    RiskFence,
    execution_id,
)

SNAPSHOT_VERSION = 3
_ORDER_RECORDS = frozenset({Order, OrderCancel, RiskFence})
_EVENT_OF_EXEC_TYPE = {
    NEW: OrderEvent.ACCEPT,
    CANCELED: OrderEvent.CANCEL,
    REPLACED: OrderEvent.REPLACE,
    EXPIRED: OrderEvent.EXPIRE,
    REJECTED: OrderEvent.REJECT,
}


class VenueStage:
    """The logic of the simulated venue. The orders of a symbol fill in the order of their approval.

    Inputs, in this order within a time slice: orders, cancels and fences, quotes, reference data and bars. Output:
    `Execution`.

    A market order trades at the open of the next bar with a trade, plus slippage. A limit order trades at the open if
    the open is at the limit or better, or at the limit if the bar touches it; otherwise it rests in the book. On its
    first bar, a limit order takes liquidity, with slippage up to its limit. A resting order has no slippage. See
    `operators/venue/matching.py` for stop orders.

    An at-the-open order (OPG) trades at the open of the first regular bar of a day, or expires. An at-the-close order
    (CLS) trades at the close of the last regular bar. It is reported with the first bar after it, because only then is
    the last regular bar known.
    """

    def __init__(self, settings: VenueSettings) -> None:
        self.settings = settings
        self._rules = VenueRules(settings)
        self._seq = 0
        self._epoch = 0
        self._fence_state = ""
        self._open_orders: dict[str, list[VenueOrder]] = {}  # by symbol, in the order of approval
        self._waiting_children = 0  # number of orders that wait for their parent's fill
        self._positions: dict[str, Decimal] = {}
        self._dust: dict[str, None] = {}  # split symbols, whose positions may have rounding remainders
        self._reference = ReferenceData()
        self._fills_from_quotes = settings.fills_from == "quotes"
        # Trading day and session of the first bar in this and in the previous time slice, to detect a session's open.
        self._current_session = self._previous_session = (0, "")

    @property
    def positions(self) -> Mapping[str, Decimal]:
        """Signed positions by symbol from this venue's fills, without zeros."""
        return self._positions

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        open_orders = self._open_orders
        bar_seen = False
        due_records = self._reference.take_due(records)
        for record in records:
            record_type = type(record)
            if due_records and record_type not in _ORDER_RECORDS:
                # Orders were decided before the action, so they come first. Prices already reflect it, so they follow.
                self._apply_corporate_actions(ts_ns, due_records, out)
                due_records = []
            if record_type is Bar:
                if not bar_seen:
                    bar_seen = True
                    session = (record.trading_day, record.session)  # type: ignore[union-attr]
                    self._previous_session, self._current_session = self._current_session, session
                if not open_orders:
                    break  # bars are the last records; without open orders they have no effect
                if record.symbol in open_orders:  # type: ignore[union-attr]
                    self._match_bar(ts_ns, record, out)  # type: ignore[arg-type]
            elif record_type is Quote:
                if self._fills_from_quotes and record.symbol in open_orders:  # type: ignore[union-attr]
                    self._match_quote(ts_ns, record, out)  # type: ignore[arg-type]
            elif isinstance(record, Order):
                self._accept_order(ts_ns, record, out)
            elif isinstance(record, OrderCancel):
                self._apply_cancel(ts_ns, record, out)
            elif isinstance(record, RiskFence):
                self._apply_fence(ts_ns, record, out)
        return out

    # -- incoming records ----------------------------------------------------------------------------------------------

    def _accept_order(self, ts_ns: int, order: Order, out: list[Record]) -> None:
        venue_order = VenueOrder(order)
        replaced = self._find_order(order.symbol, order.replaces) if order.replaces else None
        reason = self._rejection_reason(order, venue_order, replaced)
        if reason:
            self._write_report(ts_ns, venue_order, REJECTED, out, text=reason)
            return
        if replaced is not None:
            # The new order continues with the fills and fees of the old one.
            venue_order.cum_quantity, venue_order.traded_value, venue_order.taker_value = (
                replaced.cum_quantity,
                replaced.traded_value,
                replaced.taker_value,
            )
            venue_order.fees, venue_order.first_day = replaced.fees, replaced.first_day
            self._end_order(ts_ns, replaced, REPLACED, f"replaced by {order.order_id}", out)
            for child in self._all_orders():
                if child.waits_for_parent and child.parent_id == replaced.cause_id:
                    child.parent_id = venue_order.cause_id
        if order.parent_id:
            venue_order.waits_for_parent = True
            self._waiting_children += 1
        self._write_report(ts_ns, venue_order, NEW, out, leaves=venue_order.leaves)
        self._open_orders.setdefault(order.symbol, []).append(venue_order)

    def _rejection_reason(self, order: Order, venue_order: VenueOrder, replaced: VenueOrder | None) -> str:
        """Return why the venue rejects an order, or "" if it accepts it."""
        if order.risk_epoch < self._epoch:
            return f"risk epoch {order.risk_epoch} is older than the current risk epoch {self._epoch}"
        if self._fence_state == HALTED:
            return f"trading has been halted since risk epoch {self._epoch}"
        if order.replaces:
            if replaced is None:
                return f"order to replace is not open: {order.replaces}"
            if order.quantity <= replaced.cum_quantity:
                filled = f"{replaced.cum_quantity.normalize():f}"
                return f"{order.replaces} has already filled {filled} units; the new quantity must be higher"
        if order.parent_id and self._find_parent(order.parent_id) is None:
            return f"parent order is not open: {order.parent_id}"
        orders = self._open_orders.get(order.symbol, ())
        return self._rules.rejection_reason(venue_order, self._positions.get(order.symbol, ZERO), orders)

    def _apply_cancel(self, ts_ns: int, cancel: OrderCancel, out: list[Record]) -> None:
        """Cancel an open order. A cancel for an order that has ended is ignored."""
        order = self._find_order(cancel.symbol, cancel.order_id)
        if order is not None:
            self._end_order(ts_ns, order, CANCELED, cancel.reason, out)

    def _apply_fence(self, ts_ns: int, fence: RiskFence, out: list[Record]) -> None:
        self._epoch = max(self._epoch, fence.epoch)
        self._fence_state = fence.state
        if fence.state not in (HALTED, REDUCING):
            return
        for order in self._all_orders():
            if fence.state == HALTED or not self._reduces(order):
                reason = f"{fence.state.lower()} by risk epoch {fence.epoch}: {fence.reason}"
                self._end_order(ts_ns, order, CANCELED, reason, out)

    def _reduces(self, order: VenueOrder) -> bool:
        position = self._positions.get(order.symbol, ZERO)
        return order.reduce_only or order.leaves <= (-position if order.buying else position)

    def _apply_corporate_actions(
        self, ts_ns: int, due_records: Sequence[CorporateAction | ExchangeRate], out: list[Record]
    ) -> None:
        """Apply corporate actions to the positions, and cancel the symbol's open orders.

        The prices and quantities of open orders refer to the shares before the action. A cash dividend has no effect.
        """
        for action in due_records:
            if not isinstance(action, CorporateAction) or action.kind == CASH_DIVIDEND:
                continue
            symbol = action.symbol
            for order in list(self._open_orders.get(symbol, ())):
                self._end_order(ts_ns, order, CANCELED, f"{action.kind} of {symbol}: {action.action_id}", out)
            self._positions = {
                name: quantity
                for name, quantity in apply_to_quantities(self._positions, self._dust, action, ts_ns).items()
                if quantity
            }

    # -- the order book ------------------------------------------------------------------------------------------------

    def _all_orders(self) -> list[VenueOrder]:
        return sorted((order for orders in self._open_orders.values() for order in orders), key=lambda order: order.seq)

    def _find_order(self, symbol: str, order_id: str) -> VenueOrder | None:
        return next((order for order in self._open_orders.get(symbol, ()) if order.order_id == order_id), None)

    def _find_parent(self, cause_id: str) -> VenueOrder | None:
        return next(
            (order for orders in self._open_orders.values() for order in orders if order.cause_id == cause_id), None
        )

    def _end_order(self, ts_ns: int, order: VenueOrder, exec_type: str, text: str, out: list[Record]) -> None:
        """End an order without a trade. Remove it from the book, and cancel the orders that wait for it."""
        if order.state in FINAL_STATES:
            return  # already ended together with its parent
        self._write_report(ts_ns, order, exec_type, out, text=text)
        self._remove_order(order)
        if exec_type == REPLACED or not self._waiting_children:
            return
        for child in self._all_orders():
            if child.waits_for_parent and child.parent_id == order.cause_id:
                self._end_order(ts_ns, child, CANCELED, f"parent order {order.order_id} ended", out)

    def _remove_order(self, order: VenueOrder) -> None:
        orders = self._open_orders[order.symbol]
        orders.remove(order)
        self._waiting_children -= order.waits_for_parent
        if not orders:
            del self._open_orders[order.symbol]

    # -- matching ------------------------------------------------------------------------------------------------------

    def _match_bar(self, ts_ns: int, bar: Bar, out: list[Record]) -> None:
        volume_left = self._volume_limit(bar)
        for order in list(self._open_orders[bar.symbol]):
            # An earlier fill in this bar may have cancelled the order (OCO).
            if order in self._open_orders.get(bar.symbol, ()):
                traded = self._match_order(ts_ns, order, bar, volume_left, out)
                volume_left = None if volume_left is None else volume_left - traded

    def _match_quote(self, ts_ns: int, quote: Quote, out: list[Record]) -> None:
        """Match orders against a quote. Each side is treated as a bar with one price, and its size as the volume."""
        day, session = self._current_session
        ask_bar = Bar(
            *(quote.symbol, 0, quote.ts_ns, quote.ts_ns, quote.ask, quote.ask, quote.ask, quote.ask, quote.ask_size),
            *(session or REGULAR, day, True),
        )
        bid_bar = ask_bar._replace(
            open=quote.bid, high=quote.bid, low=quote.bid, close=quote.bid, volume=quote.bid_size
        )
        sizes_left = {True: to_decimal(quote.ask_size), False: to_decimal(quote.bid_size)}
        for order in list(self._open_orders[quote.symbol]):
            if order in self._open_orders.get(quote.symbol, ()) and order.time_in_force not in (OPG, CLS):
                side_bar = ask_bar if order.buying else bid_bar
                sizes_left[order.buying] -= self._match_order(ts_ns, order, side_bar, sizes_left[order.buying], out)

    def _volume_limit(self, bar: Bar) -> Decimal | None:
        """The total quantity that own orders of the symbol may trade in a bar; None if unlimited."""
        share = self.settings.max_volume_share
        return None if share is None else multiply(to_decimal(bar.volume), share)

    def _match_order(
        self, ts_ns: int, order: VenueOrder, bar: Bar, volume_left: Decimal | None, out: list[Record]
    ) -> Decimal:
        """Match one order against one bar. Returns the traded quantity."""
        if bar.open_ns < order.ts_ns + self.settings.latency_ns and self.settings.latency_ns:
            return ZERO
        day = bar.trading_day
        if not order.first_day:
            order.first_day = day
        elif order.time_in_force == DAY and day > order.first_day:
            self._end_order(ts_ns, order, EXPIRED, f"day order expired after trading day {order.first_day}", out)
            return ZERO
        if order.expires_ns is not None and bar.open_ns >= order.expires_ns:
            self._end_order(ts_ns, order, EXPIRED, f"good-till date reached: {order.expires_ns}", out)
            return ZERO
        if order.waits_for_parent:
            return ZERO
        if order.time_in_force == CLS:
            return self._match_close(ts_ns, order, bar, out)
        if not bar.traded or not self._rules.can_trade(order, bar):
            return ZERO
        if self._fills_from_quotes and bar.seq and order.time_in_force != OPG:
            return ZERO
        if order.time_in_force == OPG and (bar.session != REGULAR or self._previous_session == (day, REGULAR)):
            return ZERO
        price_match = match_price(order, bar)
        if (
            price_match is not None
            and not bar.seq
            and order.in_book
            and not price_match.takes_liquidity
            and order.limit_price is not None
        ):
            # A resting order trades at its own price.
            price_match = PriceMatch(order.limit_price, takes_liquidity=False)
        order.in_book = True
        traded = ZERO
        if price_match is not None:
            traded = self._trade(ts_ns, order, bar, price_match.price, price_match.takes_liquidity, volume_left, out)
        if order.time_in_force in (IOC, FOK, OPG) and order.leaves and self._find_order(order.symbol, order.order_id):
            exec_type = EXPIRED if order.time_in_force == OPG else CANCELED
            self._end_order(ts_ns, order, exec_type, f"{order.time_in_force}: remaining quantity not filled", out)
        return traded

    def _match_close(self, ts_ns: int, order: VenueOrder, bar: Bar, out: list[Record]) -> Decimal:
        if bar.session == REGULAR and (order.last_regular_bar is None or bar.trading_day == order.first_day):
            order.first_day = bar.trading_day
            if bar.traded:
                order.last_regular_bar = (bar.close, bar.ts_ns, bar.seq, bar.volume)
            return ZERO
        if order.last_regular_bar is None:
            return ZERO
        close, closed_ns, seq, volume = order.last_regular_bar
        closing_bar = bar._replace(open=close, open_ns=closed_ns, seq=seq, volume=volume)
        price, volume_left = to_decimal(close), self._volume_limit(closing_bar)
        traded = ZERO
        limit = order.limit_price
        if limit is None or (price <= limit if order.buying else price >= limit):
            traded = self._trade(ts_ns, order, closing_bar, price, True, volume_left, out)
        if order.leaves and self._find_order(order.symbol, order.order_id):
            self._end_order(ts_ns, order, EXPIRED, "CLS: remaining quantity not filled at the close", out)
        return traded

    def _trade(
        self,
        ts_ns: int,
        order: VenueOrder,
        bar: Bar,
        price: Decimal,
        takes_liquidity: bool,
        volume_left: Decimal | None,
        out: list[Record],
    ) -> Decimal:
        """Fill the order up to the bar's volume limit. Returns the traded quantity."""
        quantity = order.leaves
        if order.reduce_only:
            position = self._positions.get(order.symbol, ZERO)
            quantity = min(quantity, max(ZERO, -position if order.buying else position))
            if not quantity:
                self._end_order(ts_ns, order, CANCELED, "reduce-only: no position to close", out)
                return ZERO
        if volume_left is not None and volume_left < quantity:
            quantity = self._rules.whole_lots(order.symbol, max(ZERO, volume_left))
        if not quantity or (order.time_in_force == FOK and quantity < order.leaves):
            return ZERO
        if takes_liquidity:
            price = self._apply_slippage(order, price, quantity, bar)
        self._fill(ts_ns, order, bar, quantity, price, takes_liquidity, out)
        return quantity

    def _apply_slippage(self, order: VenueOrder, price: Decimal, quantity: Decimal, bar: Bar) -> Decimal:
        slippage_rate = slippage_fraction(self.settings, quantity, bar.volume)
        slipped_price = multiply(price, ONE + slippage_rate if order.buying else ONE - slippage_rate)
        tick = self.settings.tick_size
        if tick is not None:
            ticks = (slipped_price / tick).to_integral_value(ROUND_CEILING if order.buying else ROUND_FLOOR)
            slipped_price = quantize(max(ticks, ONE) * tick)
        if trades_at_any_price(order) or order.limit_price is None:
            return slipped_price
        return min(slipped_price, order.limit_price) if order.buying else max(slipped_price, order.limit_price)

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
        value = multiply(quantity, price)
        order.cum_quantity += quantity
        order.traded_value += value
        order.taker_value += value if takes_liquidity else ZERO
        # The total fees due minus the fees that earlier fills paid, so that the minimum counts once.
        fees_due = total_fees(self.settings, order.side, order.cum_quantity, order.traded_value, order.taker_value)
        fee, order.fees = max(ZERO, fees_due - order.fees), max(fees_due, order.fees)
        leaves = order.leaves
        event = OrderEvent.PARTIAL_FILL if leaves else OrderEvent.FILL
        order.state = next_state(order.state, event, order_id=order.order_id)
        signed_quantity = quantity if order.buying else -quantity
        previous = self._positions.get(order.symbol, ZERO)
        position = previous + signed_quantity
        if position and not (order.symbol in self._dust and abs(position) <= min(DUST, abs(previous))):
            self._positions[order.symbol] = position
        else:
            self._positions.pop(order.symbol, None)
        self._seq += 1
        ids = (execution_id(self._seq), order.order_id, order.symbol, order.side, TRADE)
        amounts = (quantity, price, quantize(fee), leaves, order.cum_quantity)
        out.append(Execution(self._seq, ts_ns, *ids, *amounts, bar.open_ns, bar.seq, "", order.cause_id))
        if not leaves:
            self._remove_order(order)
        if order.group_id or (self._waiting_children and not leaves):
            self._update_linked_orders(ts_ns, order, quantity, out)

    def _update_linked_orders(self, ts_ns: int, order: VenueOrder, traded: Decimal, out: list[Record]) -> None:
        """Update the orders linked to a filled order.

        The other orders of an OCO group are reduced by the traded quantity. They are cancelled if the order is filled,
        if nothing is left of them, or if they are on the other side. Orders that wait for a filled parent become
        active.
        """
        for other in self._all_orders():
            if order.group_id and other.group_id == order.group_id and other is not order:
                if order.leaves and other.buying is order.buying and other.leaves > traded:
                    other.quantity -= traded
                    continue
                self._end_order(ts_ns, other, CANCELED, f"OCO: {order.order_id} of group {order.group_id} traded", out)
            elif not order.leaves and other.waits_for_parent and other.parent_id == order.cause_id:
                other.waits_for_parent = False
                self._waiting_children -= 1

    def _write_report(
        self,
        ts_ns: int,
        order: VenueOrder,
        exec_type: str,
        out: list[Record],
        *,
        leaves: Decimal = ZERO,
        text: str = "",
    ) -> None:
        """Publish a report without a fill: acknowledged, cancelled, replaced, expired or rejected."""
        order.state = next_state(order.state, _EVENT_OF_EXEC_TYPE[exec_type], order_id=order.order_id)
        self._seq += 1
        ids = (execution_id(self._seq), order.order_id, order.symbol, order.side, exec_type)
        amounts = (ZERO, ZERO, ZERO, leaves, order.cum_quantity)
        out.append(Execution(self._seq, ts_ns, *ids, *amounts, ts_ns, 0, text, order.cause_id))

    # -- recovery ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        orders = [order.as_tuple() for symbol_orders in self._open_orders.values() for order in symbol_orders]
        reference = (list(self._dust), self._reference.snapshot())
        return (
            SNAPSHOT_VERSION,
            self._seq,
            self._epoch,
            self._fence_state,
            orders,
            dict(self._positions),
            self._current_session,
            reference,
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Version 2 contains no corporate actions."""
        version, *state = snapshot
        assert version in (2, SNAPSHOT_VERSION), f"venue snapshot: version {version}, expected 2 or {SNAPSHOT_VERSION}"
        if version == 2:
            state.append(([], self._reference.snapshot()))
        self._seq, self._epoch, self._fence_state, orders, positions, self._current_session, (dust, reference) = state
        self._dust = dict.fromkeys(dust)
        self._reference.restore(reference)
        self._positions = dict(positions)
        self._open_orders, self._waiting_children = {}, 0
        for values in orders:
            order = VenueOrder.from_tuple(values)
            self._open_orders.setdefault(order.symbol, []).append(order)
            self._waiting_children += order.waits_for_parent
