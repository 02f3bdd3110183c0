"""What risk knows, folded by itself from executions, bars and its approvals: it does not trust the portfolio."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from operators.instruments import Instruments
from operators.ledger.corporate_actions import fraction_of
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


class Mark(NamedTuple):
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


class Side:
    """The open orders of one side of one symbol: their units, what those cost, and the dearest unit's price."""

    __slots__ = ("dearest", "quantity", "worth")

    def __init__(self) -> None:
        self.quantity = self.worth = self.dearest = ZERO

    def reserve(self, closable: Decimal) -> Decimal:
        """Cash that the side sets aside: all of it but `closable` units opens a position.

        Which orders close and which open depends on who is filled first; what is set aside covers the dearest ones
        opening, so it is enough in any order of fills.
        """
        return set_aside(self.quantity, self.worth, self.dearest, closable)


def set_aside(quantity: Decimal, worth: Decimal, dearest: Decimal, closable: Decimal) -> Decimal:
    if not closable:
        return worth
    return min(worth, multiply(quantity - closable, dearest)) if quantity > closable else ZERO


class Holding:
    """One symbol's position and what its open orders may make of it. Quantities signed, short is negative.

    `quantity_f` and `worst_f` are floats that become money when multiplied by a price: the multiplier is in them.
    """

    __slots__ = ("buys", "multiplier", "orders", "quantity", "quantity_f", "reserve", "sells", "worst_f")

    def __init__(self, quantity: Decimal = ZERO, multiplier: Decimal = ONE) -> None:
        self.quantity = quantity
        self.multiplier = multiplier
        self.orders: dict[str, OpenOrder] = {}
        self.buys, self.sells = Side(), Side()
        self.refresh()

    def closable(self, side: str) -> Decimal:
        """How many units an order of this side would close at most."""
        return max(ZERO, -self.quantity if side == BUY else self.quantity)

    def worst(self) -> Decimal:
        """The largest |quantity| that the open orders of one side can lead to."""
        return max(abs(self.quantity + self.buys.quantity), abs(self.quantity - self.sells.quantity))

    def put(self, order_id: str, order: OpenOrder) -> None:
        self.orders[order_id] = order
        if order.reduce_only:
            return
        side = self.buys if order.side == BUY else self.sells
        side.quantity += order.leaves
        side.worth += multiply(order.leaves, order.price)
        side.dearest = max(side.dearest, order.price)

    def take(self, order_id: str) -> OpenOrder:
        order = self.orders.pop(order_id)
        if order.reduce_only:
            return order
        side = self.buys if order.side == BUY else self.sells
        side.quantity -= order.leaves
        side.worth -= multiply(order.leaves, order.price)
        if order.price == side.dearest:
            side.dearest = max(
                (o.price for o in self.orders.values() if o.side == order.side and not o.reduce_only), default=ZERO
            )
        return order

    def refresh(self) -> None:
        """Derive what follows from quantity and orders; called after they changed."""
        self.reserve = self.buys.reserve(self.closable(BUY)) + self.sells.reserve(self.closable(SELL))
        self.quantity_f = float(self.quantity * self.multiplier)
        self.worst_f = float(self.worst() * self.multiplier)

    def value(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Money that `quantity` units are worth at a quoted price."""
        worth = multiply(quantity, price)
        return worth if self.multiplier == ONE else multiply(worth, self.multiplier)


class Exposure(NamedTuple):
    """Held positions at last prices in account currency: the longs, the shorts (positive), and `worst`, the gross value
    if of each symbol all open orders of the worse side were filled."""

    long: Decimal
    short: Decimal
    worst: Decimal


class RiskBook:
    """Positions, cash, open orders and last prices. Cost of a bar: one dictionary write."""

    def __init__(self, initial_capital: Decimal, instruments: Instruments, currency: str = "USD") -> None:
        """`currency` is the account's."""
        self._instruments, self._currency = instruments, currency
        self.rates: dict[str, Decimal] = {}  # currency -> what one unit is worth in the account's
        self._dust: dict[str, None] = {}  # symbols that were split: what no one can trade of them counts as nothing
        self.cash = initial_capital
        self.reserved = ZERO  # sum of the holdings' reserves
        self.holdings: dict[str, Holding] = {}
        self.symbol_of: dict[str, str] = {}  # open order -> symbol
        self.terms: dict[str, OrderProposal] = {}  # open order -> what was approved
        self.last: dict[str, Bar | Mark] = {}
        self._unpriced: dict[str, None] = {}  # in the book without a price, when last looked at
        self.state = ACTIVE
        self.epoch = 0
        self.reconciling = ""  # why the gateway does not know what its broker has; "" when it does
        self.trading_day = 0
        self.day_equity = initial_capital  # at the last prices of the day before

    def price(self, symbol: str) -> Decimal | None:
        """Last close, or None where there was no bar yet."""
        bar = self.last.get(symbol)
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
        holding = self.holdings.get(symbol)
        return ZERO if holding is None else holding.quantity

    # -- without a trade -----------------------------------------------------------------------------------------------

    def set_rate(self, currency: str, rate: Decimal) -> None:
        """One unit of `currency` is worth `rate` in account currency. What open orders set aside stays as it was."""
        self.rates[currency] = rate
        for symbol, holding in self.holdings.items():
            instrument = self._instruments.get(symbol)
            if instrument is not None and instrument.currency == currency:
                holding.multiplier = self.multiplier(symbol)
                self._rebalance(holding)

    def reprice(self, symbol: str, ratio: Decimal) -> None:
        """A unit is worth 1 / `ratio` of what it was, until its next bar says more."""
        last = self.last.get(symbol)
        if last is not None:
            self.last[symbol] = Mark(last.ts_ns, float(divide(to_decimal(last.close), ratio)), last.session)

    def split(self, symbol: str, ratio: Decimal, cash_in_lieu: Decimal | None) -> None:
        """`ratio` new units for one old; the fraction of a unit goes where cash comes in its place."""
        holding = self.holdings[symbol]
        holding.quantity = split_quantity(holding.quantity, ratio)
        self._dust[symbol] = None
        fraction = fraction_of(holding.quantity)
        if cash_in_lieu is not None and fraction:
            self.sell_out(symbol, fraction, cash_in_lieu)
        else:
            self._refresh(symbol, holding)

    def sell_out(self, symbol: str, quantity: Decimal, price: Decimal) -> None:
        """`quantity` (signed like the position) leaves for `price` each."""
        holding = self.holdings[symbol]
        holding.quantity -= quantity
        self.cash += holding.value(quantity, price)
        self._refresh(symbol, holding)

    def rename(self, symbol: str, new_symbol: str) -> None:
        """A position goes by another symbol; its open orders end under the old one."""
        held = self.holdings.get(symbol)
        if symbol in self.last:
            self.last.setdefault(new_symbol, self.last[symbol])
        if held is None or not held.quantity:
            return
        if self._dust.pop(symbol, ()) is None:
            self._dust[new_symbol] = None
        moved = self.holdings.get(new_symbol) or self._open(new_symbol)
        moved.quantity += held.quantity
        held.quantity = ZERO
        self._refresh(symbol, held)
        self._refresh(new_symbol, moved)

    # -- orders and trades ---------------------------------------------------------------------------------------------

    def add_order(self, order_id: str, terms: OrderProposal, order: OpenOrder) -> None:
        symbol = terms.symbol
        holding = self.holdings.get(symbol)
        if holding is None:
            holding = self._open(symbol)
        holding.put(order_id, order)
        self.symbol_of[order_id] = symbol
        self.terms[order_id] = terms
        self._refresh(symbol, holding)

    def set_aside(self, order_id: str) -> OpenOrder:
        """Take an open order out of the sums, to see how the book looks without it; `put_back` it afterwards."""
        holding = self.holdings[self.symbol_of[order_id]]
        order = holding.take(order_id)
        self._rebalance(holding)
        return order

    def put_back(self, order_id: str, order: OpenOrder) -> None:
        holding = self.holdings[self.symbol_of[order_id]]
        holding.put(order_id, order)
        self._rebalance(holding)

    def fold_execution(self, report: Execution) -> None:
        """Trades move position and cash, also those of orders that risk never saw; final reports release the order."""
        kind = report.exec_type
        if kind == TRADE:
            holding = self.holdings.get(report.symbol)
            if holding is None:
                holding = self._open(report.symbol)
            signed = report.quantity if report.side == BUY else -report.quantity
            before = holding.quantity
            holding.quantity += signed
            if report.symbol in self._dust and abs(holding.quantity) <= min(DUST, abs(before)):
                holding.quantity = ZERO
            self.cash -= holding.value(signed, report.price) + report.fee
            if report.order_id in self.symbol_of:
                order = holding.take(report.order_id)
                if report.leaves_quantity > 0:
                    holding.put(report.order_id, order._replace(leaves=report.leaves_quantity))
                else:
                    del self.symbol_of[report.order_id], self.terms[report.order_id]
            self._refresh(report.symbol, holding)
        elif kind in (CANCELED, REPLACED, EXPIRED, REJECTED) and report.order_id in self.symbol_of:
            holding = self.holdings[self.symbol_of.pop(report.order_id)]
            del self.terms[report.order_id]
            holding.take(report.order_id)
            self._refresh(report.symbol, holding)

    def _refresh(self, symbol: str, holding: Holding) -> None:
        self._rebalance(holding)
        if not holding.quantity and not holding.orders:
            del self.holdings[symbol]

    def _rebalance(self, holding: Holding) -> None:
        self.reserved -= holding.reserve
        holding.refresh()
        self.reserved += holding.reserve

    def _open(self, symbol: str, quantity: Decimal = ZERO) -> Holding:
        holding = self.holdings[symbol] = Holding(quantity, self.multiplier(symbol))
        if symbol not in self.last:
            self._unpriced[symbol] = None
        return holding

    def unpriced(self) -> str | None:
        """A symbol in the book whose price is not known, if there is one."""
        for symbol in tuple(self._unpriced):
            if symbol in self.last or symbol not in self.holdings:
                del self._unpriced[symbol]
            else:
                return symbol
        return None

    def exposure(self) -> Exposure:
        """In floats, to the cent: about 0.1 µs a holding. Within a cent or 1e-9 of a limit ask `exact_exposure`."""
        net = short = worst = 0.0
        last = self.last
        for symbol, holding in self.holdings.items():
            close = last[symbol].close
            value = holding.quantity_f * close
            net += value
            if value < 0.0:
                short -= value
            worst += holding.worst_f * close
        long = net + short
        return Exposure(to_decimal(round(long, 2)), to_decimal(round(short, 2)), to_decimal(round(worst, 2)))

    def net_value(self) -> Decimal:
        """Of all holdings at their last prices, in floats, to the cent."""
        last, net = self.last, 0.0
        for symbol, holding in self.holdings.items():
            net += holding.quantity_f * last[symbol].close  # one after the other: `sum` differs by Python's version
        return to_decimal(round(net, 2))

    def exact_exposure(self) -> Exposure:
        """The same in exact arithmetic, about ten times as dear."""
        long = short = worst = ZERO
        for symbol, holding in self.holdings.items():
            close = to_decimal(self.last[symbol].close)
            value = holding.value(holding.quantity, close)
            long, short = (long + value, short) if value >= 0 else (long, short - value)
            worst += holding.value(holding.worst(), close)
        return Exposure(long, short, worst)

    def equity(self) -> Decimal | None:
        """Cash and positions at last prices, exact; None while a held symbol has no price."""
        if self.unpriced() is not None:
            return None
        exposure = self.exact_exposure()
        return self.cash + exposure.long - exposure.short

    def snapshot(self) -> tuple[Any, ...]:
        return (
            self.cash,
            self.state,
            self.epoch,
            self.trading_day,
            self.day_equity,
            self.reconciling,
            [
                (symbol, holding.quantity, [(order_id, *order) for order_id, order in holding.orders.items()])
                for symbol, holding in self.holdings.items()
            ],
            {symbol: (bar.ts_ns, bar.close, bar.session) for symbol, bar in self.last.items()},
            {name: (*terms[:12], list(terms.signal_ids), *terms[13:]) for name, terms in self.terms.items()},
            list(self._dust),
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.cash, self.state, self.epoch, self.trading_day, self.day_equity, *rest = snapshot
        self.reconciling, holdings, last, terms, dust = rest
        self._dust = dict.fromkeys(dust)
        self.reserved, self.holdings, self.symbol_of, self._unpriced = ZERO, {}, {}, {}
        self.terms = {name: OrderProposal._make((*one[:12], list(one[12]), *one[13:])) for name, one in terms.items()}
        self.last = {symbol: Mark(*mark) for symbol, mark in last.items()}
        for symbol, quantity, orders in holdings:
            holding = self._open(symbol, quantity)
            for order_id, *order in orders:
                holding.put(order_id, OpenOrder(*order))
                self.symbol_of[order_id] = symbol
            self._refresh(symbol, holding)
