"""What risk knows, folded by itself from executions, bars and its approvals: it does not trust the portfolio."""

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
    """What is kept of a symbol's last bar over a restart, by the names that `Bar` has."""

    ts_ns: int
    close: float
    session: str = "REGULAR"


class OpenOrder(NamedTuple):
    """An approved order that can still trade: `leaves` units, each worth `price` (money) when it opens a position.

    `limit` is its limit price as quoted, None for a market order. One that only reduces can never open anything, so it
    sets nothing aside and is no part of what a position may come to.
    """

    side: str
    leaves: Decimal
    price: Decimal
    limit: Decimal | None = None
    reduce_only: bool = False


class SideTotals:
    """The open orders of one side of one symbol: their units, what those cost, and the dearest unit's price."""

    __slots__ = ("cost", "price_max", "quantity")

    def __init__(self) -> None:
        self.quantity = self.cost = self.price_max = ZERO

    def reserved_cash(self, closable: Decimal) -> Decimal:
        """Cash that the side sets aside: all of it but `closable` units opens a position.

        Which orders close and which open depends on who is filled first; what is set aside covers the dearest ones
        opening, so it is enough in any order of fills.
        """
        return cash_to_reserve(self.quantity, self.cost, self.price_max, closable)


def cash_to_reserve(quantity: Decimal, cost: Decimal, price_max: Decimal, closable: Decimal) -> Decimal:
    if not closable:
        return cost
    return min(cost, multiply(quantity - closable, price_max)) if quantity > closable else ZERO


class RiskPosition:
    """One symbol's position and what its open orders may make of it. Quantities signed, short is negative.

    `quantity_factor` and `worst_factor` are floats that become money when multiplied by a price: the multiplier is in them.
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
        """How many units an order of this side would close at most."""
        return max(ZERO, -self.quantity if side == BUY else self.quantity)

    def worst_quantity(self) -> Decimal:
        """The largest |quantity| that the open orders of one side can lead to."""
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
        """Derive what follows from quantity and orders; called after they changed."""
        self.reserved_cash = self.buys.reserved_cash(self.closable(BUY)) + self.sells.reserved_cash(self.closable(SELL))
        self.quantity_factor = float(self.quantity * self.multiplier)
        self.worst_factor = float(self.worst_quantity() * self.multiplier)

    def value(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Money that `quantity` units are worth at a quoted price."""
        value_in_currency = multiply(quantity, price)
        return value_in_currency if self.multiplier == ONE else multiply(value_in_currency, self.multiplier)


class Exposure(NamedTuple):
    """Held positions at last prices in account currency: the longs, the shorts (positive), and `worst`, the gross value
    if of each symbol all open orders of the worse side were filled."""

    long: Decimal
    short: Decimal
    worst_gross: Decimal


class RiskBook:
    """Positions, cash, open orders and last prices. Cost of a bar: one dictionary write."""

    def __init__(self, initial_capital: Decimal, instruments: Instruments, currency: str = "USD") -> None:
        """`currency` is the account's."""
        self._instruments, self._currency = instruments, currency
        self.rates: dict[str, Decimal] = {}  # currency -> what one unit is worth in the account's
        self._dust: dict[str, None] = {}  # symbols that were split: what no one can trade of them counts as nothing
        self.cash = initial_capital
        self.reserved = ZERO  # sum of the holdings' reserves
        self.positions: dict[str, RiskPosition] = {}
        self.symbol_of: dict[str, str] = {}  # open order -> symbol
        self.terms: dict[str, OrderProposal] = {}  # open order -> what was approved
        self.last_bars: dict[str, Bar | LastBar] = {}
        self._unpriced: dict[str, None] = {}  # in the book without a price, when last looked at
        self.state = ACTIVE
        self.epoch = 0
        self.reconciling = ""  # why the gateway does not know what its broker has; "" when it does
        self.trading_day = 0
        self.day_start_equity = initial_capital  # at the last prices of the day before

    def price(self, symbol: str) -> Decimal | None:
        """Last close, or None where there was no bar yet."""
        bar = self.last_bars.get(symbol)
        return None if bar is None else to_decimal(bar.close)

    def multiplier(self, symbol: str) -> Decimal:
        """Account money per unit and price point; 1 for a symbol that is not known, which no order gets past."""
        instrument = self._instruments.get(symbol)
        if instrument is None:
            return ONE
        if instrument.currency == self._currency:
            return instrument.multiplier
        return multiply(instrument.multiplier, self.rates.get(instrument.currency, ONE))

    def quantity(self, symbol: str) -> Decimal:
        """Signed units held."""
        position = self.positions.get(symbol)
        return ZERO if position is None else position.quantity

    # -- without a trade -----------------------------------------------------------------------------------------------

    def set_rate(self, currency: str, rate: Decimal) -> None:
        """One unit of `currency` is worth `rate` in account currency. What open orders set aside stays as it was."""
        self.rates[currency] = rate
        for symbol, position in self.positions.items():
            instrument = self._instruments.get(symbol)
            if instrument is not None and instrument.currency == currency:
                position.multiplier = self.multiplier(symbol)
                self._refresh_reserve(position)

    def reprice(self, symbol: str, ratio: Decimal) -> None:
        """A unit is worth 1 / `ratio` of what it was, until its next bar says more."""
        last_bar = self.last_bars.get(symbol)
        if last_bar is not None:
            self.last_bars[symbol] = LastBar(
                last_bar.ts_ns, float(divide(to_decimal(last_bar.close), ratio)), last_bar.session
            )

    def split(self, symbol: str, ratio: Decimal, cash_in_lieu: Decimal | None) -> None:
        """`ratio` new units for one old; the fraction of a unit goes where cash comes in its place."""
        position = self.positions[symbol]
        position.quantity = split_quantity(position.quantity, ratio)
        self._dust[symbol] = None
        fraction = fractional_part(position.quantity)
        if cash_in_lieu is not None and fraction:
            self.close_quantity(symbol, fraction, cash_in_lieu)
        else:
            self._refresh_position(symbol, position)

    def close_quantity(self, symbol: str, quantity: Decimal, price: Decimal) -> None:
        """`quantity` (signed like the position) leaves for `price` each."""
        position = self.positions[symbol]
        position.quantity -= quantity
        self.cash += position.value(quantity, price)
        self._refresh_position(symbol, position)

    def rename(self, symbol: str, new_symbol: str) -> None:
        """A position goes by another symbol; its open orders end under the old one."""
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
        """Take an open order out of the sums, to see how the book looks without it; `restore_order` it afterwards."""
        position = self.positions[self.symbol_of[order_id]]
        order = position.remove_order(order_id)
        self._refresh_reserve(position)
        return order

    def restore_order(self, order_id: str, order: OpenOrder) -> None:
        position = self.positions[self.symbol_of[order_id]]
        position.add_order(order_id, order)
        self._refresh_reserve(position)

    def fold_execution(self, report: Execution) -> None:
        """Trades move position and cash, also those of orders that risk never saw; final reports release the order."""
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
        """A symbol in the book whose price is not known, if there is one."""
        for symbol in tuple(self._unpriced):
            if symbol in self.last_bars or symbol not in self.positions:
                del self._unpriced[symbol]
            else:
                return symbol
        return None

    def exposure(self) -> Exposure:
        """In floats, to the cent: about 0.1 µs a holding. Within a cent or 1e-9 of a limit ask `exact_exposure`."""
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
        """Of all holdings at their last prices, in floats, to the cent."""
        last_bars, net = self.last_bars, 0.0
        for symbol, position in self.positions.items():
            net += (
                position.quantity_factor * last_bars[symbol].close
            )  # one after the other: `sum` differs by Python's version
        return to_decimal(round(net, 2))

    def exact_exposure(self) -> Exposure:
        """The same in exact arithmetic, about ten times as dear."""
        long = short = worst_gross = ZERO
        for symbol, position in self.positions.items():
            close = to_decimal(self.last_bars[symbol].close)
            value = position.value(position.quantity, close)
            long, short = (long + value, short) if value >= 0 else (long, short - value)
            worst_gross += position.value(position.worst_quantity(), close)
        return Exposure(long, short, worst_gross)

    def equity(self) -> Decimal | None:
        """Cash and positions at last prices, exact; None while a held symbol has no price."""
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
