"""What risk knows, folded by itself from executions, bars and its approvals: it does not trust the portfolio."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from operators.money import ZERO, multiply, to_decimal
from schemas.records import ACTIVE, BUY, CANCELED, EXPIRED, REJECTED, TRADE, Bar, Execution


class Mark(NamedTuple):
    """Last price of a symbol after a restore, by the names that `Bar` has."""

    ts_ns: int
    close: float


class OpenOrder(NamedTuple):
    """An approved order that can still trade: `leaves` units, each worth `price` when it opens a position."""

    side: str
    leaves: Decimal
    price: Decimal


class Holding:
    """One symbol's position and what its open orders may make of it. Quantities signed, short is negative."""

    __slots__ = ("buys", "orders", "quantity", "quantity_f", "reserve", "sells", "worst_f")

    def __init__(self, quantity: Decimal = ZERO) -> None:
        self.quantity = quantity
        self.orders: dict[str, OpenOrder] = {}
        self.refresh()

    def refresh(self) -> None:
        """Derive the sums anew; called after `quantity` or `orders` changed. O(open orders of this symbol)."""
        self.buys, self.sells, self.reserve = commitment(self.quantity, self.orders.values())
        self.quantity_f = float(self.quantity)
        self.worst_f = float(max(abs(self.quantity + self.buys), abs(self.quantity - self.sells)))


def commitment(position: Decimal, orders: Any) -> tuple[Decimal, Decimal, Decimal]:
    """What `orders` may still buy, may still sell, and the cash that their opening part sets aside.

    The part of a side that only closes `position` needs no cash. Which orders close and which open depends on who is
    filled first; the sum set aside covers the dearest ones opening, so it is enough in any order of fills.
    """
    quantity = {True: ZERO, False: ZERO}
    worth = {True: ZERO, False: ZERO}
    dearest = {True: ZERO, False: ZERO}
    for order in orders:
        buying = order.side == BUY
        quantity[buying] += order.leaves
        worth[buying] += multiply(order.leaves, order.price)
        dearest[buying] = max(dearest[buying], order.price)
    reserve = ZERO
    for buying, closable in ((True, max(ZERO, -position)), (False, max(ZERO, position))):
        opening = quantity[buying] - closable
        if opening > 0:
            reserve += min(worth[buying], multiply(opening, dearest[buying]))
    return quantity[True], quantity[False], reserve


class Exposure(NamedTuple):
    """Held positions at last prices in account currency: the longs, the shorts (positive), and `worst`, the gross value
    if of each symbol all open orders of the worse side were filled."""

    long: Decimal
    short: Decimal
    worst: Decimal


class RiskBook:
    """Positions, cash, open orders and last prices. Cost of a bar: one dictionary write."""

    def __init__(self, initial_capital: Decimal) -> None:
        self.cash = initial_capital
        self.reserved = ZERO  # sum of the holdings' reserves
        self.holdings: dict[str, Holding] = {}
        self.symbol_of: dict[str, str] = {}  # open order -> symbol
        self.last: dict[str, Bar | Mark] = {}
        self.state = ACTIVE
        self.epoch = 0
        self.trading_day = 0
        self.day_equity = initial_capital  # at the last prices of the day before

    def price(self, symbol: str) -> Decimal | None:
        """Last close, or None where there was no bar yet."""
        bar = self.last.get(symbol)
        return None if bar is None else to_decimal(bar.close)

    def add_order(self, order_id: str, symbol: str, order: OpenOrder) -> None:
        holding = self.holdings.get(symbol)
        if holding is None:
            holding = self.holdings[symbol] = Holding()
        holding.orders[order_id] = order
        self.symbol_of[order_id] = symbol
        self._refresh(symbol, holding)

    def fold_execution(self, report: Execution) -> None:
        """Trades move position and cash, also those of orders that risk never saw; final reports release the order."""
        kind = report.exec_type
        if kind == TRADE:
            holding = self.holdings.get(report.symbol)
            if holding is None:
                holding = self.holdings[report.symbol] = Holding()
            signed = report.quantity if report.side == BUY else -report.quantity
            holding.quantity += signed
            self.cash -= multiply(signed, report.price) + report.fee
            order = holding.orders.get(report.order_id)
            if order is not None:
                if report.leaves_quantity > 0:
                    holding.orders[report.order_id] = order._replace(leaves=report.leaves_quantity)
                else:
                    self._drop(report.order_id, holding)
            self._refresh(report.symbol, holding)
        elif kind in (CANCELED, EXPIRED, REJECTED) and report.order_id in self.symbol_of:
            holding = self.holdings[report.symbol]
            self._drop(report.order_id, holding)
            self._refresh(report.symbol, holding)

    def _drop(self, order_id: str, holding: Holding) -> None:
        del holding.orders[order_id]
        del self.symbol_of[order_id]

    def _refresh(self, symbol: str, holding: Holding) -> None:
        self.reserved -= holding.reserve
        holding.refresh()
        self.reserved += holding.reserve
        if not holding.quantity and not holding.orders:
            del self.holdings[symbol]

    def unpriced(self) -> str | None:
        """A held symbol whose price is not known, if there is one."""
        return next((symbol for symbol in self.holdings if symbol not in self.last), None)

    def exposure(self) -> Exposure:
        """In floats, to the cent: about 0.1 µs a holding. Within a cent or 1e-9 of a limit ask `exact_exposure`."""
        long = short = worst = 0.0
        last = self.last
        for symbol, holding in self.holdings.items():
            close = last[symbol].close
            value = holding.quantity_f * close
            if value >= 0.0:
                long += value
            else:
                short -= value
            worst += holding.worst_f * close
        return Exposure(to_decimal(round(long, 2)), to_decimal(round(short, 2)), to_decimal(round(worst, 2)))

    def exact_exposure(self) -> Exposure:
        """The same in exact arithmetic, about ten times as dear."""
        long = short = worst = ZERO
        for symbol, holding in self.holdings.items():
            close = to_decimal(self.last[symbol].close)
            value = multiply(holding.quantity, close)
            long, short = (long + value, short) if value >= 0 else (long, short - value)
            worst += multiply(max(abs(holding.quantity + holding.buys), abs(holding.quantity - holding.sells)), close)
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
            [
                (symbol, holding.quantity, [(order_id, *order) for order_id, order in holding.orders.items()])
                for symbol, holding in self.holdings.items()
            ],
            {symbol: (bar.ts_ns, bar.close) for symbol, bar in self.last.items()},
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.cash, self.state, self.epoch, self.trading_day, self.day_equity, holdings, last = snapshot
        self.reserved, self.holdings, self.symbol_of = ZERO, {}, {}
        for symbol, quantity, orders in holdings:
            holding = self.holdings[symbol] = Holding(quantity)
            for order_id, *order in orders:
                holding.orders[order_id] = OpenOrder(*order)
                self.symbol_of[order_id] = symbol
            self._refresh(symbol, holding)
        self.last = {symbol: Mark(*mark) for symbol, mark in last.items()}
