"""The stage of the simulated venue.

A decision uses the bars up to one clock record, and its order reaches the venue before the next bar. The first price at
which it can trade is therefore the open of the next bar. A bar without a trade fills no order.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from decimal import Decimal
from itertools import takewhile
from typing import Any, Literal

from operators.cash_transfers import CashTransfers
from operators.kill_switch import halt_text, halts_at_once
from operators.ledger.events import apply_to_quantities, share_ratio
from operators.money import ZERO, multiply, to_decimal
from operators.reference_data import ReferenceData, describe_action
from operators.venue.account import liquidation_order
from operators.venue.amendments import spent_stop_reason
from operators.venue.fills import VenueFills
from operators.venue.lifetimes import OrderLifetimes, SessionEnd
from operators.venue.matching import BarMatch, quote_bars
from operators.venue.order_book import OrderBook
from operators.venue.reports import VenueReports
from operators.venue.settings import VenueSettings
from operators.venue.venue_order import VenueOrder
from operators.venue.venue_rules import VenueRules
from schemas.records import (
    BUY,
    CANCELED,
    CASH_DIVIDEND,
    CLS,
    HALTED,
    NEW,
    OPG,
    POST,
    REDUCING,
    REGULAR,
    REJECTED,
    REPLACED,
    SELL,
    Bar,
    Command,
    CorporateAction,
    ExchangeRate,
    Order,
    OrderCancel,
    Quote,
    Record,
    RiskFence,
    TradingSession,
    TradingState,
    Valuation,
)

SNAPSHOT_VERSION = 7
_ORDER_RECORDS = frozenset({Order, OrderCancel, RiskFence, Valuation, Command})


class VenueStage:
    """The logic of the simulated venue: its book, and the time in force of its orders.

    Inputs, in this order within a time slice: orders, cancels and fences, commands, quotes, reference data (with the
    trading hours) and bars.
    Outputs: `Execution` and `CashTransfer`, with a common `seq`.

    `operators/venue/bar_path.py` determines whether an order trades in a bar and at which price,
    `operators/venue/matching.py` in which sequence. A limit order that is marketable on arrival takes liquidity, with
    slippage up to its limit. A resting order has no slippage.

    `operators/venue/lifetimes.py` ends orders by time.
    """

    def __init__(
        self,
        settings: VenueSettings,
        currency: str = "USD",
        session_end: SessionEnd | None = None,
        approvals: Container[str] = (),
    ) -> None:
        """`currency` is the account currency, of cash transfers. `session_end` returns when a bar's session ends.

        Without it, the end of a session is known with the first bar of the next one. `approvals` are the actions that
        need a second person, as in `RiskSettings`.
        """
        self.settings = settings
        self._reference = ReferenceData(currency=currency)
        self._rules = VenueRules(settings, self._reference.halts)
        self._reports = VenueReports()
        self._fills = VenueFills(settings, self._rules, self._reports)
        self._epoch = 0
        self._fence_state: TradingState | Literal[""] = ""
        self._transfers = CashTransfers(currency, approvals)
        self._fills_from_quotes = settings.uses_quotes
        self._lifetimes = OrderLifetimes(settings, self._rules, self._fills, session_end)

    @property
    def positions(self) -> Mapping[str, Decimal]:
        """Signed positions by symbol from this venue's fills, without zeros."""
        return self._fills.positions

    @property
    def open_order_ids(self) -> list[str]:
        """The ids of the orders that have not ended."""
        return [order.order_id for order in self._book.all_orders()]

    @property
    def _book(self) -> OrderBook:
        return self._fills.book

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        due_records = self._reference.pop_due(records)
        if due_records:
            self._fills.account.rates = self._reference.rates
        if due_records:
            # Orders were decided before the action, so they come first. Prices already reflect it, so they follow.
            orders = list(takewhile(lambda record: type(record) in _ORDER_RECORDS, records))
            self._process(ts_ns, orders, out)
            self._apply_corporate_actions(ts_ns, due_records, out)
            records = records[len(orders) :]
        self._process(ts_ns, records, out)
        return out

    def _process(self, ts_ns: int, records: Sequence[Record], out: list[Record]) -> None:
        open_orders, fills_from_quotes = self._book.by_symbol, self._fills_from_quotes
        bar_seen = False
        for record in records:
            if type(record) is Bar:
                if not bar_seen:
                    bar_seen = True
                    self._lifetimes.begin_bars(records, record)
                if not open_orders:
                    break  # bars are the last records; without open orders they have no effect
                if record.symbol in open_orders:
                    self._match_bar(ts_ns, record, out)
            elif type(record) is Quote:
                if fills_from_quotes and record.symbol in open_orders:
                    self._match_quote(ts_ns, record, out)
            elif isinstance(record, Order):
                self._accept_order(ts_ns, record, out)
            elif isinstance(record, OrderCancel):
                self._apply_cancel(ts_ns, record, out)
            elif isinstance(record, RiskFence):
                self._apply_fence(ts_ns, record, out)
            elif isinstance(record, Command):
                self._apply_command(ts_ns, record, out)
            elif isinstance(record, Valuation):
                self._apply_valuation(ts_ns, record, out)
            elif isinstance(record, TradingSession):
                self._lifetimes.record_hours(record)

    # -- incoming records ----------------------------------------------------------------------------------------------

    def _apply_command(self, ts_ns: int, command: Command, out: list[Record]) -> None:
        """Cancel all orders for a kill switch, and write the transfer of a cash command."""
        if halts_at_once(command):
            for order in self._book.all_orders():
                self._fills.end(ts_ns, order, CANCELED, halt_text(command), out)
        transfer = self._transfers.from_command(ts_ns, self._reports.seq + 1, command)
        if transfer is not None:
            self._reports.seq = transfer.seq
            out.append(transfer)

    def _apply_valuation(self, ts_ns: int, valuation: Valuation, out: list[Record]) -> None:
        """Close an account whose equity is below zero: cancel its orders and sell or buy back its positions."""
        account = self._fills.account
        if not account.record_valuation(valuation):
            return
        for order in self._book.all_orders():
            self._fills.end(ts_ns, order, CANCELED, account.liquidation, out)
        for number, (symbol, quantity) in enumerate(sorted(self.positions.items()), start=1):
            order = liquidation_order(valuation.ts_ns, number, symbol, quantity)
            out.append(
                self._reports.without_fill(ts_ns, order, NEW, remaining=order.remaining, text=account.liquidation)
            )
            self._book.add(order)

    def _accept_order(self, ts_ns: int, order: Order, out: list[Record]) -> None:
        venue_order = VenueOrder(order)
        replaced = self._book.find(order.terms.symbol, order.replaces) if order.replaces else None
        reason = self._rejection_reason(order, venue_order, replaced)
        if reason:
            out.append(self._reports.without_fill(ts_ns, venue_order, REJECTED, text=reason))
            return
        if replaced is not None:
            venue_order.copy_progress_from(replaced)
            self._fills.end(ts_ns, replaced, REPLACED, f"replaced by {order.order_id}", out)
            self._book.adopt_children(replaced, venue_order)
        else:
            venue_order.auction_after_day = self._lifetimes.regular_day
            parent = self._book.find_parent(order.terms.parent_id) if order.terms.parent_id else None
            if parent is not None:
                self._wait_for_parent(venue_order, parent)
        out.append(self._reports.without_fill(ts_ns, venue_order, NEW, remaining=venue_order.remaining))
        self._book.add(venue_order)

    def _wait_for_parent(self, order: VenueOrder, parent: VenueOrder) -> None:
        """Hold an order back until its parent fills. The units that the parent has already filled can trade."""
        order.wait_for_parent()
        if parent.cum_quantity:
            order.waits_for_parent, order.held_back = False, max(ZERO, order.held_back - parent.cum_quantity)

    def _rejection_reason(self, order: Order, venue_order: VenueOrder, replaced: VenueOrder | None) -> str:
        """Return why the venue rejects an order, or "" if it accepts it."""
        if self._fills.account.liquidation:
            return self._fills.account.liquidation
        if order.risk_epoch < self._epoch:
            return f"risk epoch {order.risk_epoch} is older than the current risk epoch {self._epoch}"
        if self._fence_state == HALTED:
            return f"trading has been halted since risk epoch {self._epoch}"
        if order.replaces:
            if replaced is None:
                outcome = self._book.ended.get(order.replaces)
                return f"order to replace is not open: {order.replaces}{f' is {outcome}' if outcome else ''}"
            if order.terms.quantity <= replaced.cum_quantity:
                filled = f"{replaced.cum_quantity.normalize():f}"
                return f"{order.replaces} has already filled {filled} units; the new quantity must be higher"
            if replaced.stop_triggered and (
                reason := spent_stop_reason(replaced.order_id, replaced.terms, order.terms)
            ):
                return reason
        terms = order.terms
        if replaced is None and terms.parent_id and self._book.find_parent(terms.parent_id) is None:
            return f"parent order is not open: {terms.parent_id}"
        orders = self._book.by_symbol.get(terms.symbol, ())
        return self._rules.rejection_reason(venue_order, self._fills.positions.get(terms.symbol, ZERO), orders)

    def _apply_cancel(self, ts_ns: int, cancel: OrderCancel, out: list[Record]) -> None:
        """Cancel an open order, or the one that has replaced it. The cancel of an ended order is ignored."""
        order = self._book.find(cancel.symbol, cancel.order_id)
        if order is not None:
            self._fills.end(ts_ns, order, CANCELED, cancel.reason, out)

    def _apply_fence(self, ts_ns: int, fence: RiskFence, out: list[Record]) -> None:
        self._epoch = max(self._epoch, fence.epoch)
        self._fence_state = fence.state
        if fence.state not in (HALTED, REDUCING):
            return
        for order in self._book.all_orders():
            if fence.state == HALTED or not self._reduces(order):
                reason = f"{fence.state.lower()} by risk epoch {fence.epoch}: {fence.reason}"
                self._fills.end(ts_ns, order, CANCELED, reason, out)

    def _reduces(self, order: VenueOrder) -> bool:
        position = self._fills.positions.get(order.terms.symbol, ZERO)
        return order.terms.reduce_only or order.remaining <= (-position if order.buying else position)

    def _apply_corporate_actions(
        self, ts_ns: int, due_records: Sequence[CorporateAction | ExchangeRate], out: list[Record]
    ) -> None:
        """Apply corporate actions to the positions and the symbol's open orders.

        A split converts the orders to new shares. Any other action, such as a symbol change, delisting
        or spin-off, cancels them. A cash dividend has no effect.
        """
        for action in due_records:
            if not isinstance(action, CorporateAction) or action.kind == CASH_DIVIDEND:
                continue
            symbol = action.symbol
            ratio, lot_size = share_ratio(action), self.settings.instruments.lot_size_of(symbol)
            for order in list(self._book.by_symbol.get(symbol, ())):
                if ratio != 1:
                    order.split(ratio, lot_size)
                if ratio == 1 or not order.remaining:
                    self._fills.end(ts_ns, order, CANCELED, describe_action(action), out)
            before = {name: self._fills.positions.get(name, ZERO) for name in (symbol, action.new_symbol)}
            quantities = apply_to_quantities(self._fills.positions, self._fills.split_symbols, action, ts_ns)
            self._fills.positions = {name: quantity for name, quantity in quantities.items() if quantity}
            for name, quantity in before.items():
                self._fills.end_exits_since(ts_ns, name, quantity, out)

    # -- matching ------------------------------------------------------------------------------------------------------

    def _match_bar(self, ts_ns: int, bar: Bar, out: list[Record]) -> None:
        """Match the orders of a symbol that may trade in the bar, and let time pass for all of them."""
        lifetimes = self._lifetimes
        open_orders = list(self._book.by_symbol[bar.symbol])
        orders = [order for order in open_orders if lifetimes.works_in_bar(ts_ns, order, bar, out)]
        others = [] if len(orders) == len(open_orders) else open_orders
        next_auction: list[VenueOrder] = []
        if bar.traded and (orders or any(lifetimes.meets_close(order, bar) for order in others)):
            match = BarMatch(self._fills, self._rules.can_trade, ts_ns, bar, self._volume_limit(bar), out)
            if orders := [order for order in orders if order.is_open]:
                match.run(orders)
            # Among them are on-close exits of entries that have just filled.
            auction = [order for order in others if order.is_open and lifetimes.meets_close(order, bar)]
            if auction := [order for order in auction if self._rules.can_trade(order, bar)]:
                next_auction = match.run_auction(auction)
        for order in list(self._book.by_symbol.get(bar.symbol, ())):
            if order not in next_auction:
                lifetimes.end_after_bar(ts_ns, order, bar, out)

    def _match_quote(self, ts_ns: int, quote: Quote, out: list[Record]) -> None:
        """Match orders against a quote, each side up to its size, then the orders that these fills activate."""
        day, session = self._lifetimes.session
        ask, bid = quote_bars(quote, session or REGULAR, day)
        volume_left: dict[str, Decimal | None] = {BUY: to_decimal(ask.volume), SELL: to_decimal(bid.volume)}
        orders = list(self._book.by_symbol.get(quote.symbol, ()))
        while orders:
            working = [
                order
                for order in orders
                if order.active_ns <= quote.ts_ns
                and order.terms.time_in_force not in (OPG, CLS)
                and self._lifetimes.works_in_bar(ts_ns, order, ask, out)
            ]
            for side, bar in ((BUY, ask), (SELL, bid)):
                if due := [order for order in working if order.terms.side == side and order.is_open]:
                    match = BarMatch(self._fills, self._rules.can_trade, ts_ns, bar, volume_left[side], out)
                    match.run(due)
                    volume_left[side] = match.volume_left
            activated, self._fills.activated = self._fills.activated, []
            orders = [order for order in activated if order.terms.symbol == quote.symbol]

    def _volume_limit(self, bar: Bar) -> Decimal | None:
        """The total quantity that own orders of the symbol may trade in a bar; None if unlimited."""
        share = self.settings.max_volume_share
        return None if share is None else multiply(to_decimal(bar.volume), share)

    # -- recovery ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        orders = [order.as_tuple() for symbol_orders in self._book.by_symbol.values() for order in symbol_orders]
        reference = (list(self._fills.split_symbols), self._reference.snapshot())
        return (
            SNAPSHOT_VERSION,
            self._reports.seq,
            self._epoch,
            self._fence_state,
            orders,
            dict(self._fills.positions),
            (*self._lifetimes.session, self._lifetimes.regular_day, list(self._book.ended.items())),
            reference,
            self._transfers.snapshot(),
            self._fills.account.snapshot(),
            list(self._lifetimes.recorded_hours.items()),
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot.

        Version 2 contains no corporate actions, version 3 no cash transfers, version 4 neither `regular_day` nor
        ended orders, and orders whose children wait until they are filled in full. Version 5 contains no account,
        version 6 no recorded trading hours.
        """
        version, *state = snapshot
        expected = f"2 to {SNAPSHOT_VERSION}"
        assert version in (2, 3, 4, 5, 6, SNAPSHOT_VERSION), f"venue snapshot: version {version}, expected {expected}"
        if version == 2:
            state.append(([], self._reference.snapshot()))
        if version < 4:
            state.append([])
        self._reports.seq, self._epoch, self._fence_state, orders, positions, session, *tail = state
        (split_symbols, reference), transfers, *later = tail
        account, recorded_hours = later[:1], later[1:]
        if version < 5:
            day, phase = session
            session = (day, phase, day if phase in (REGULAR, POST) else 0, [])
        day, phase, self._lifetimes.regular_day, ended = session
        self._lifetimes.session = (day, phase)
        for hours in recorded_hours:
            self._lifetimes.recorded_hours = {
                recorded_day: (open_ns, close_ns) for recorded_day, (open_ns, close_ns) in hours
            }
        self._transfers.restore(transfers)
        self._fills.split_symbols = dict.fromkeys(split_symbols)
        self._reference.restore(reference)
        self._fills.positions = dict(positions)
        self._fills.book = OrderBook()
        self._fills.account.rates = self._reference.rates
        for state_of_account in account:
            self._fills.account.restore(state_of_account)
        self._book.ended.update(ended)
        for values in orders:
            self._book.add(VenueOrder.from_tuple(values))
        if version < 5:
            self._upgrade_orders()

    def _upgrade_orders(self) -> None:
        """Complete the orders of a snapshot of release 0.2.0 or earlier."""
        for order in self._book.all_orders():
            if order.terms.time_in_force == OPG:
                order.auction_after_day = self._lifetimes.regular_day
            if order.cum_quantity:
                for child in self._book.held_children(order):
                    self._book.release(child, order.cum_quantity)
