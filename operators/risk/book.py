"""Positions, cash, open orders and prices for the risk checks.

The book is computed from executions, bars and risk's own approvals. It is independent of the portfolio's books.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from operators.instruments import Instruments
from operators.ledger.corporate_actions import fractional_part
from operators.ledger.lots import DUST, split_quantity
from operators.money import ONE, ZERO, divide, multiply, to_decimal
from schemas.records import (
    ACTIVE,
    BUY,
    CANCELED,
    EXPIRED,
    REJECTED,
    REPLACED,
    SELL,
    TRADE,
    Bar,
    Execution,
    OrderProposal,
)


class LastBar(NamedTuple):
    """The fields of a symbol's last bar that a snapshot stores, with the field names of `Bar`."""

    ts_ns: int
    close: float
    session: str = "REGULAR"


class OpenOrder(NamedTuple):
    """An approved order that can still trade: `leaves` remaining units, each valued at `price` in account currency.

    `limit` is the quoted limit price, None for an order without a limit. A reduce-only order never opens a position. It
    reserves no cash and does not count toward the worst-case position.
    """

    side: str
    leaves: Decimal
    price: Decimal
    limit: Decimal | None = None
    reduce_only: bool = False


class SideTotals:
    """The open orders of one side of one symbol: total units, total cost and the highest price per unit."""

    __slots__ = ("cost", "price_max", "quantity")

    def __init__(self) -> None:
        self.quantity = self.cost = self.price_max = ZERO

    def reserved_cash(self, closable: Decimal) -> Decimal:
        """Return the cash that this side reserves. All units except `closable` open a position.

        The order of fills decides which orders close and which open. The reserve assumes that the most expensive units
        open, so it is sufficient for any order of fills.
        """
        return cash_to_reserve(self.quantity, self.cost, self.price_max, closable)


def cash_to_reserve(quantity: Decimal, cost: Decimal, price_max: Decimal, closable: Decimal) -> Decimal:
    if not closable:
        return cost
    return min(cost, multiply(quantity - closable, price_max)) if quantity > closable else ZERO


class RiskPosition:
    """One symbol's position and open orders. Quantities are signed; short is negative.

    `quantity_factor` and `worst_factor` are floats that include the multiplier. Multiplied by a price, they give money.
    """

    __slots__ = (
        "buys",
        "multiplier",
        "orders",
        "quantity",
        "quantity_factor",
        "reserved_cash",
        "sells",
        "worst_factor",
    )

    def __init__(self, quantity: Decimal = ZERO, multiplier: Decimal = ONE) -> None:
        self.quantity = quantity
        self.multiplier = multiplier
        self.orders: dict[str, OpenOrder] = {}
        self.buys, self.sells = SideTotals(), SideTotals()
        self.update_derived()

    def closable(self, side: str) -> Decimal:
        """The maximum number of units that an order of this side can close."""
        return max(ZERO, -self.quantity if side == BUY else self.quantity)

    def worst_quantity(self) -> Decimal:
        """The largest |quantity| that filling the open orders of one side can result in."""
        return max(abs(self.quantity + self.buys.quantity), abs(self.quantity - self.sells.quantity))

    def add_order(self, order_id: str, order: OpenOrder) -> None:
        self.orders[order_id] = order
        if order.reduce_only:
            return
        side = self.buys if order.side == BUY else self.sells
        side.quantity += order.leaves
        side.cost += multiply(order.leaves, order.price)
        side.price_max = max(side.price_max, order.price)

    def remove_order(self, order_id: str) -> OpenOrder:
        order = self.orders.pop(order_id)
        if order.reduce_only:
            return order
        side = self.buys if order.side == BUY else self.sells
        side.quantity -= order.leaves
        side.cost -= multiply(order.leaves, order.price)
        if order.price == side.price_max:
            side.price_max = max(
                (o.price for o in self.orders.values() if o.side == order.side and not o.reduce_only), default=ZERO
            )
        return order

    def update_derived(self) -> None:
        """Recompute the derived values. Call after the quantity or the orders change."""
        self.reserved_cash = self.buys.reserved_cash(self.closable(BUY)) + self.sells.reserved_cash(self.closable(SELL))
        self.quantity_factor = float(self.quantity * self.multiplier)
        self.worst_factor = float(self.worst_quantity() * self.multiplier)

    def value(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Value of `quantity` units at a quoted price, in account currency."""
        value_in_currency = multiply(quantity, price)
        return value_in_currency if self.multiplier == ONE else multiply(value_in_currency, self.multiplier)


class Exposure(NamedTuple):
    """Value of the positions at last prices in account currency.

    `long` and `short` are both positive. `worst_gross` is the gross value after the open orders of each symbol's worse
    side are filled.
    """

    long: Decimal
    short: Decimal
    worst_gross: Decimal


class RiskBook:
    """Positions, cash, open orders and last prices. Processing a bar costs one dictionary write."""

    def __init__(self, initial_capital: Decimal, instruments: Instruments, currency: str = "USD") -> None:
        """Create a book with `initial_capital` in cash. `currency` is the account currency."""
        self._instruments, self._currency = instruments, currency
        self.rates: dict[str, Decimal] = {}  # currency -> value of one unit in account currency
        self._dust: dict[str, None] = {}  # split symbols: a remainder too small to trade counts as 0
        self.cash = initial_capital
        self.reserved = ZERO  # sum of the positions' reserves
        self.positions: dict[str, RiskPosition] = {}
        self.symbol_of: dict[str, str] = {}  # order id of an open order -> symbol
        self.terms: dict[str, OrderProposal] = {}  # order id of an open order -> approved terms
        self.last_bars: dict[str, Bar | LastBar] = {}
        self._unpriced: dict[str, None] = {}  # symbols in the book that had no price at the last check
        self.state = ACTIVE
        self.epoch = 0
        self.reconciling = ""  # why the gateway is not reconciled with the broker; "" if it is
        self.trading_day = 0
        self.day_start_equity = initial_capital  # at the last prices of the previous day

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

    def reprice(self, symbol: str, ratio: Decimal) -> None:
        """Divide the last price by `ratio`. The price applies until the symbol's next bar."""
        last_bar = self.last_bars.get(symbol)
        if last_bar is not None:
            self.last_bars[symbol] = LastBar(
                last_bar.ts_ns, float(divide(to_decimal(last_bar.close), ratio)), last_bar.session
            )

    def split(self, symbol: str, ratio: Decimal, cash_in_lieu: Decimal | None) -> None:
        """Split a position into `ratio` new units per old unit. With `cash_in_lieu`, a fraction of a unit is sold."""
        position = self.positions[symbol]
        position.quantity = split_quantity(position.quantity, ratio)
        self._dust[symbol] = None
        fraction = fractional_part(position.quantity)
        if cash_in_lieu is not None and fraction:
            self.close_quantity(symbol, fraction, cash_in_lieu)
        else:
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
        if symbol in self.last_bars:
            self.last_bars.setdefault(new_symbol, self.last_bars[symbol])
        if old_position is None or not old_position.quantity:
            return
        if self._dust.pop(symbol, ()) is None:
            self._dust[new_symbol] = None
        new_position = self.positions.get(new_symbol) or self._open_position(new_symbol)
        new_position.quantity += old_position.quantity
        old_position.quantity = ZERO
        self._refresh_position(symbol, old_position)
        self._refresh_position(new_symbol, new_position)

    # -- orders and trades ---------------------------------------------------------------------------------------------

    def add_order(self, order_id: str, terms: OrderProposal, order: OpenOrder) -> None:
        symbol = terms.symbol
        position = self.positions.get(symbol)
        if position is None:
            position = self._open_position(symbol)
        position.add_order(order_id, order)
        self.symbol_of[order_id] = symbol
        self.terms[order_id] = terms
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

        A final report removes the order.
        """
        exec_type = report.exec_type
        if exec_type == TRADE:
            position = self.positions.get(report.symbol)
            if position is None:
                position = self._open_position(report.symbol)
            signed_quantity = report.quantity if report.side == BUY else -report.quantity
            previous = position.quantity
            position.quantity += signed_quantity
            if report.symbol in self._dust and abs(position.quantity) <= min(DUST, abs(previous)):
                position.quantity = ZERO
            self.cash -= position.value(signed_quantity, report.price) + report.fee
            if report.order_id in self.symbol_of:
                order = position.remove_order(report.order_id)
                if report.leaves_quantity > 0:
                    position.add_order(report.order_id, order._replace(leaves=report.leaves_quantity))
                else:
                    del self.symbol_of[report.order_id], self.terms[report.order_id]
            self._refresh_position(report.symbol, position)
        elif exec_type in (CANCELED, REPLACED, EXPIRED, REJECTED) and report.order_id in self.symbol_of:
            position = self.positions[self.symbol_of.pop(report.order_id)]
            del self.terms[report.order_id]
            position.remove_order(report.order_id)
            self._refresh_position(report.symbol, position)

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
        for symbol in tuple(self._unpriced):
            if symbol in self.last_bars or symbol not in self.positions:
                del self._unpriced[symbol]
            else:
                return symbol
        return None

    def exposure(self) -> Exposure:
        """Compute the exposure in floats, rounded to the cent: about 0.1 µs per position.

        Use `exact_exposure` if the result is within a cent or a relative 1e-9 of a limit.
        """
        net = short = worst_gross = 0.0
        last_bars = self.last_bars
        for symbol, position in self.positions.items():
            close = last_bars[symbol].close
            value = position.quantity_factor * close
            net += value
            if value < 0.0:
                short -= value
            worst_gross += position.worst_factor * close
        long = net + short
        return Exposure(to_decimal(round(long, 2)), to_decimal(round(short, 2)), to_decimal(round(worst_gross, 2)))

    def net_value(self) -> Decimal:
        """Net value of all positions at their last prices, computed in floats and rounded to the cent."""
        last_bars, net = self.last_bars, 0.0
        for symbol, position in self.positions.items():
            # Not `sum`, whose result for floats depends on the Python version.
            net += position.quantity_factor * last_bars[symbol].close
        return to_decimal(round(net, 2))

    def exact_exposure(self) -> Exposure:
        """Compute the exposure in exact arithmetic, about ten times slower."""
        long = short = worst_gross = ZERO
        for symbol, position in self.positions.items():
            close = to_decimal(self.last_bars[symbol].close)
            value = position.value(position.quantity, close)
            long, short = (long + value, short) if value >= 0 else (long, short - value)
            worst_gross += position.value(position.worst_quantity(), close)
        return Exposure(long, short, worst_gross)

    def equity(self) -> Decimal | None:
        """Cash plus positions at last prices, exact; None while a symbol in the book has no price."""
        if self.unpriced_symbol() is not None:
            return None
        exposure = self.exact_exposure()
        return self.cash + exposure.long - exposure.short

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
            {name: (*terms[:12], list(terms.signal_ids), *terms[13:]) for name, terms in self.terms.items()},
            list(self._dust),
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.cash, self.state, self.epoch, self.trading_day, self.day_start_equity, *rest = snapshot
        self.reconciling, positions, last_bars, terms, dust = rest
        self._dust = dict.fromkeys(dust)
        self.reserved, self.positions, self.symbol_of, self._unpriced = ZERO, {}, {}, {}
        self.terms = {
            name: OrderProposal._make((*fields[:12], list(fields[12]), *fields[13:])) for name, fields in terms.items()
        }
        self.last_bars = {symbol: LastBar(*values) for symbol, values in last_bars.items()}
        for symbol, quantity, orders in positions:
            position = self._open_position(symbol, quantity)
            for order_id, *order in orders:
                position.add_order(order_id, OpenOrder(*order))
                self.symbol_of[order_id] = symbol
            self._refresh_position(symbol, position)
