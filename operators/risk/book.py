"""Positions, cash, open orders and prices for the risk checks.

The book is computed from executions, bars and risk's own approvals. It is independent of the portfolio's books.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.current_orders import CurrentOrder, CurrentOrders
from operators.ended_symbols import EndedSymbols
from operators.instruments import Instruments
from operators.ledger.corporate_actions import SpinOff, fractional_units
from operators.ledger.split_ratio import split_price, split_quantity, units_after_trade
from operators.money import ONE, ZERO, multiply, quantize, to_decimal
from operators.rebase import rebase
from operators.risk.exposure import Exposure, exact_exposure, net_value, rounded_exposure
from operators.risk.last_price import LastBar, OpenTime, price_age_ns
from operators.risk.position import OpenOrder, RiskPosition
from schemas.records import (
    ACTIVE,
    BUY,
    CANCELED,
    EXPIRED,
    EXTERNAL_FLOWS,
    REJECTED,
    REPLACED,
    TRADE,
    Bar,
    CashTransfer,
    Execution,
    OrderProposal,
    TradingState,
)
from schemas.records.flat import from_stored, to_flat


class RiskBook:
    """Positions, cash, open orders and last prices. Processing a bar costs one dictionary write."""

    def __init__(
        self,
        initial_capital: Decimal,
        instruments: Instruments,
        currency: str = "USD",
        open_time: OpenTime | None = None,
    ) -> None:
        """Create a book with `initial_capital` in cash. `currency` is the account currency.

        Without `open_time`, a price ages at all times.
        """
        self._open_time = open_time
        self._instruments, self._currency = instruments, currency
        self.rates: dict[str, Decimal] = {}  # currency -> value of one unit in account currency
        self._split_symbols: dict[str, None] = {}  # a remainder too small to trade counts as 0
        self.cash = initial_capital
        self.accrued = ZERO  # dividends receivable minus payable
        self.reserved = ZERO  # sum of the positions' reserves
        self.positions: dict[str, RiskPosition] = {}
        self.symbol_of: dict[str, str] = {}  # order id of an open order -> symbol
        # order id of an open order -> the proposal that was approved, with the terms as they are now
        self.proposals: dict[str, OrderProposal] = {}
        self._current_orders = CurrentOrders()
        self.last_bars: dict[str, Bar | LastBar] = {}
        self._unpriced: dict[str, None] = {}  # symbols in the book that had no price at the last check
        self.ended_symbols = EndedSymbols()  # not in the snapshot
        self.state: TradingState = ACTIVE
        self.epoch = 0
        self.reconciling = ""  # why the gateway is not reconciled with the broker; "" if it is
        self.trading_day = 0
        # Equity at the last prices of the previous day, plus the net flows since. The day's loss in money is the
        # difference to the present equity.
        self.day_start_equity = initial_capital
        # The same, scaled by each flow like equity itself: the base of the day's loss as a fraction.
        self.day_start_base = initial_capital
        self.pending_flow = ZERO  # net flow by which the bases of drawdown and daily loss are not yet scaled

    def price_age_ns(self, symbol: str, ts_ns: int, enough_ns: int) -> int:
        """Return the age of the symbol's last bar (`operators/risk/last_price.py`). The symbol has a bar."""
        return price_age_ns(self.last_bars[symbol], ts_ns, enough_ns, self._open_time)

    def price(self, symbol: str) -> Decimal | None:
        """The last close, or None before the first bar."""
        bar = self.last_bars.get(symbol)
        return None if bar is None else to_decimal(bar.close)

    def multiplier(self, symbol: str) -> Decimal:
        """Money in account currency per unit and price point; 1 for an unknown symbol, whose orders are rejected."""
        instrument = self._instruments.get(symbol)
        if instrument is None:
            return ONE
        if instrument.currency == self._currency:
            return instrument.multiplier
        return multiply(instrument.multiplier, self.rates.get(instrument.currency, ONE))

    def quantity(self, symbol: str) -> Decimal:
        """The position in signed units."""
        position = self.positions.get(symbol)
        return ZERO if position is None else position.quantity

    # -- corporate actions and exchange rates --------------------------------------------------------------------------

    def set_rate(self, currency: str, rate: Decimal) -> None:
        """Set the value of one unit of `currency` in account currency. Open orders keep their order prices."""
        self.rates[currency] = rate
        for symbol, position in self.positions.items():
            instrument = self._instruments.get(symbol)
            if instrument is not None and instrument.currency == currency:
                position.multiplier = self.multiplier(symbol)
                self._refresh_reserve(position)

    def reprice(self, symbol: str, close: float) -> None:
        """Set the last price after a corporate action. The symbol has a last bar."""
        last_bar = self.last_bars[symbol]
        self.last_bars[symbol] = LastBar(last_bar.ts_ns, close, last_bar.session)

    def split(self, symbol: str, ratio: Decimal, cash_in_lieu: Decimal | None) -> None:
        """Split a position into `ratio` new units per old unit. With `cash_in_lieu`, a fraction of a unit is sold."""
        position = self.positions[symbol]
        position.quantity = split_quantity(position.quantity, ratio)
        self._split_symbols[symbol] = None
        fraction = fractional_units(position.quantity)
        if cash_in_lieu is not None and fraction:
            self.close_quantity(symbol, fraction, cash_in_lieu)
        else:
            self._refresh_position(symbol, position)

    def add_price(self, symbol: str, close: float, like: str) -> None:
        """Set the first price of a distributed symbol, at the time of the last bar of `like`."""
        bar = self.last_bars[like]
        if symbol not in self.last_bars or symbol in self.ended_symbols.reused:
            self.last_bars[symbol] = LastBar(bar.ts_ns, close, bar.session)

    def distribute(self, symbol: str, event: SpinOff) -> None:
        """Add the distributed shares. With `cash_in_lieu`, a fraction of a unit is sold."""
        units = split_quantity(self.positions[symbol].quantity, event.ratio)
        position = self.positions.get(event.new_symbol) or self._open_position(event.new_symbol)
        position.quantity += units
        self._split_symbols[event.new_symbol] = None
        fraction = fractional_units(position.quantity)
        if event.cash_in_lieu is not None and fraction:
            self.close_quantity(event.new_symbol, fraction, event.cash_in_lieu)
        else:
            self._refresh_position(event.new_symbol, position)

    def split_orders(self, symbol: str, ratio: Decimal) -> None:
        """Convert the open orders of a symbol to new shares, as the venue does."""
        position = self.positions.get(symbol)
        if position is None or not position.orders:
            return
        for current in self._current_orders.split(symbol, ratio, self._instruments.lot_size_of(symbol)):
            order, proposal = position.orders[current.order_id], self.proposals[current.order_id]
            reference_price = split_price(proposal.reference_price, ratio)
            self.proposals[current.order_id] = proposal._replace(reference_price=reference_price)
            self._update_order(current, split_price(order.price, ratio))
        self._refresh_position(symbol, position)

    def close_quantity(self, symbol: str, quantity: Decimal, price: Decimal) -> None:
        """Close `quantity` units (signed like the position) at `price` per unit."""
        position = self.positions[symbol]
        position.quantity -= quantity
        self.cash += position.value(quantity, price)
        self._refresh_position(symbol, position)

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Move a position to `new_symbol`. Its open orders stay under the old symbol until they end."""
        old_position = self.positions.get(symbol)
        if symbol in self.last_bars and (new_symbol not in self.last_bars or new_symbol in self.ended_symbols.reused):
            self.last_bars[new_symbol] = self.last_bars[symbol]
        if old_position is None or not old_position.quantity:
            return
        if self._split_symbols.pop(symbol, ()) is None:
            self._split_symbols[new_symbol] = None
        new_position = self.positions.get(new_symbol) or self._open_position(new_symbol)
        new_position.quantity += old_position.quantity
        old_position.quantity = ZERO
        self._refresh_position(symbol, old_position)
        self._refresh_position(new_symbol, new_position)

    # -- orders and trades ---------------------------------------------------------------------------------------------

    def add_order(self, order_id: str, proposal: OrderProposal, order: OpenOrder, replaces: str = "") -> None:
        """Add an approved order. `replaces` is the id of the open order that it amends."""
        terms, symbol = proposal.terms, proposal.terms.symbol
        filled = terms.quantity - order.remaining
        self._current_orders.add(CurrentOrder(order_id, proposal.proposal_id, terms, filled, replaces=replaces))
        position = self.positions.get(symbol)
        if position is None:
            position = self._open_position(symbol)
        position.add_order(order_id, order)
        self.symbol_of[order_id] = symbol
        self.proposals[order_id] = proposal
        self._refresh_position(symbol, position)

    def remove_order(self, order_id: str) -> OpenOrder:
        """Remove an open order from the totals temporarily, to check its amendment. Call `restore_order` afterwards."""
        position = self.positions[self.symbol_of[order_id]]
        order = position.remove_order(order_id)
        self._refresh_reserve(position)
        return order

    def restore_order(self, order_id: str, order: OpenOrder) -> None:
        position = self.positions[self.symbol_of[order_id]]
        position.add_order(order_id, order)
        self._refresh_reserve(position)

    def fold_execution(self, report: Execution) -> None:
        """Apply an execution report. Trades change position and cash, even for orders that risk did not approve.

        A final report removes the order. Reports also change the terms of the orders that depend on theirs.
        """
        exec_type = report.exec_type
        changed = self._current_orders.fold_execution(report)
        if exec_type == TRADE:
            position = self.positions.get(report.symbol)
            if position is None:
                position = self._open_position(report.symbol)
            signed_quantity = report.quantity if report.side == BUY else -report.quantity
            was_split = report.symbol in self._split_symbols
            position.quantity = units_after_trade(position.quantity, signed_quantity, was_split=was_split)
            self.cash -= position.value(signed_quantity, report.price) + report.fee
            if report.order_id in self.symbol_of:
                order = position.remove_order(report.order_id)
                if report.leaves_quantity > 0:
                    position.add_order(report.order_id, order._replace(remaining=report.leaves_quantity))
                else:
                    del self.symbol_of[report.order_id], self.proposals[report.order_id]
            self._refresh_position(report.symbol, position)
        elif exec_type in (CANCELED, REPLACED, EXPIRED, REJECTED) and report.order_id in self.symbol_of:
            position = self.positions[self.symbol_of.pop(report.order_id)]
            del self.proposals[report.order_id]
            position.remove_order(report.order_id)
            self._refresh_position(report.symbol, position)
        for current in changed:
            order_id, symbol = current.order_id, current.terms.symbol
            if order_id not in self.symbol_of:
                continue  # ended
            remaining = self.positions[symbol].orders[order_id].remaining
            if (self.proposals[order_id].terms, remaining) != (current.terms, current.remaining):
                self._update_order(current)
                self._refresh_reserve(self.positions[symbol])

    def _update_order(self, current: CurrentOrder, price: Decimal | None = None) -> None:
        """Take over the present terms of an open order, and its new price per unit."""
        order_id, terms = current.order_id, current.terms
        position = self.positions[self.symbol_of[order_id]]
        order = position.remove_order(order_id)
        self.proposals[order_id] = self.proposals[order_id]._replace(terms=terms)
        price = order.price if price is None else price
        position.add_order(order_id, order._replace(remaining=current.remaining, price=price, limit=terms.limit_price))

    def waits_for_parent(self, order_id: str) -> bool:
        """Whether an open order waits for further fills of its entry."""
        current = self._current_orders.get(order_id)
        return current is not None and bool(current.held or (current.terms.parent_id and not current.is_working))

    def is_replaced(self, order_id: str) -> bool:
        """Whether an open order has an amendment that the venue has not confirmed yet."""
        return self._current_orders.is_replaced(order_id)

    # -- cash transfers ------------------------------------------------------------------------------------------------

    def book_transfer(self, transfer: CashTransfer) -> None:
        """Book a cash transfer. A deposit or withdrawal changes the capital and is neither profit nor loss."""
        amount = quantize(transfer.amount)
        self.cash += amount
        if transfer.kind in EXTERNAL_FLOWS:
            self.day_start_equity += amount
            self.pending_flow += amount

    def pop_flow(self) -> tuple[Decimal, Decimal] | None:
        """Return the equity before and after the pending flow at the current prices, once.

        None without a flow. While a symbol has no price, the flow stays pending. Call after the bars of a time slice:
        money that moves in a time slice was not invested during it.
        """
        if not self.pending_flow:
            return None
        equity = self.equity()
        if equity is None:
            return None
        before, self.pending_flow = equity - self.pending_flow, ZERO
        self.day_start_base = rebase(self.day_start_base, before, equity)
        return before, equity

    def start_day(self, equity: Decimal) -> None:
        """Start a trading day with this equity."""
        self.day_start_equity = self.day_start_base = equity

    def _refresh_position(self, symbol: str, position: RiskPosition) -> None:
        self._refresh_reserve(position)
        if not position.quantity and not position.orders:
            del self.positions[symbol]

    def _refresh_reserve(self, position: RiskPosition) -> None:
        self.reserved -= position.reserved_cash
        position.update_derived()
        self.reserved += position.reserved_cash

    def _open_position(self, symbol: str, quantity: Decimal = ZERO) -> RiskPosition:
        position = self.positions[symbol] = RiskPosition(quantity, self.multiplier(symbol))
        if symbol not in self.last_bars:
            self._unpriced[symbol] = None
        return position

    def unpriced_symbol(self) -> str | None:
        """A symbol in the book without a price, or None."""
        if not self._unpriced:
            return None
        for symbol in tuple(self._unpriced):
            if symbol in self.last_bars or symbol not in self.positions:
                del self._unpriced[symbol]
            else:
                return symbol
        return None

    def exposure(self) -> Exposure:
        """Compute the exposure in floats, rounded to the cent."""
        return rounded_exposure(self.positions, self.last_bars)

    def net_value(self) -> float:
        """Net value of all positions at their last prices, computed in floats."""
        return net_value(self.positions, self.last_bars)

    def exact_exposure(self) -> Exposure:
        """Compute the exposure in exact arithmetic."""
        return exact_exposure(self.positions, self.last_bars)

    def equity(self) -> Decimal | None:
        """Cash, accrued dividends and positions at last prices, exact; None while a symbol in the book has no price."""
        if self.unpriced_symbol() is not None:
            return None
        exposure = self.exact_exposure()
        return self.equity_at(exposure)

    def equity_at(self, exposure: Exposure) -> Decimal:
        """Cash, accrued dividends and the value of the positions."""
        return self.cash + self.accrued + exposure.long - exposure.short

    def snapshot(self) -> tuple[Any, ...]:
        return (
            self.cash,
            self.state,
            self.epoch,
            self.trading_day,
            self.day_start_equity,
            self.reconciling,
            [
                (symbol, position.quantity, [(order_id, *order) for order_id, order in position.orders.items()])
                for symbol, position in self.positions.items()
            ],
            {symbol: (bar.ts_ns, bar.close, bar.session) for symbol, bar in self.last_bars.items()},
            {order_id: to_flat(_own_copy(proposal)) for order_id, proposal in self.proposals.items()},
            list(self._split_symbols),
            (self.day_start_base, self.pending_flow),
            self._current_orders.snapshot(),
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.cash, self.state, self.epoch, self.trading_day, self.day_start_equity, *rest = snapshot
        self.reconciling, positions, last_bars, proposals, split_symbols, flows, current = rest
        self.day_start_base, self.pending_flow = flows
        self._split_symbols = dict.fromkeys(split_symbols)
        self.reserved, self.positions, self.symbol_of, self._unpriced = ZERO, {}, {}, {}
        self.proposals = {
            order_id: _own_copy(from_stored(OrderProposal, values)) for order_id, values in proposals.items()
        }
        self.last_bars = {symbol: LastBar(*values) for symbol, values in last_bars.items()}
        for symbol, quantity, orders in positions:
            position = self._open_position(symbol, quantity)
            for order_id, *order in orders:
                position.add_order(order_id, OpenOrder(*order))
                self.symbol_of[order_id] = symbol
            self._refresh_position(symbol, position)
        if current is None:
            current = self._current_orders_of_earlier_release()
        self._current_orders.restore(current)

    def _current_orders_of_earlier_release(self) -> list[tuple[Any, ...]]:
        """Return the present terms of the open orders, for a snapshot of a release that did not store them."""
        current = CurrentOrders()
        for order_id, proposal in self.proposals.items():
            filled = proposal.terms.quantity - self.positions[self.symbol_of[order_id]].orders[order_id].remaining
            current.add(CurrentOrder(order_id, proposal.proposal_id, proposal.terms, filled))
        for order_id in self.proposals:
            current.accept(order_id)
        return current.snapshot()


def _own_copy(proposal: OrderProposal) -> OrderProposal:
    """Return the proposal with a list and a dict of its own, which no snapshot shares."""
    return proposal._replace(signal_ids=list(proposal.signal_ids), changes=dict(proposal.changes))
