"""A slow and simple reference for the tax books. It tracks single units and knows the whole tape in advance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import count

WASH_WINDOW_DAYS = 30


class Unit:
    """One unit bought or sold short. `sign` is 1 for a long unit and -1 for a short unit."""

    def __init__(self, trade_index: int, day: int, price: Fraction, sign: int) -> None:
        self.trade_index, self.day, self.price, self.sign = trade_index, day, price, sign
        self.exit_trade_index: int | None = None
        self.exit_rank = 0
        self.exit_day = 0
        self.exit_price = Fraction(0)
        self.carried_loss = Fraction(0)
        self.disallowed_loss = Fraction(0)
        self.term_days_before = 0
        self.is_replacement = False
        self.is_delivered = False

    @property
    def pnl(self) -> Fraction:
        return self.sign * (self.exit_price - self.price)


def naive_units(trades: Sequence[tuple[int, int, Fraction]], method: str) -> list[Unit]:
    """Return every unit ever opened, in opening order. `trades` are (day, signed whole units, price) in time order."""
    units: list[Unit] = []
    ranks = count(1)
    for trade_index, (day, quantity, price) in enumerate(trades):
        trade_units(units, trade_index, day, quantity, price, method, ranks)
    return units


def trade_units(
    units: list[Unit], trade_index: int, day: int, quantity: int, price: Fraction, method: str, ranks: Iterator[int]
) -> None:
    """Close units of the other side one by one, and append a unit for each one that is left."""
    sign = 1 if quantity > 0 else -1
    for _ in range(abs(quantity)):
        open_units = [unit for unit in units if unit.exit_trade_index is None and unit.sign != sign]
        if not open_units:
            units.append(Unit(trade_index, day, price, sign))
            continue
        unit = _next(open_units, method)
        unit.exit_trade_index, unit.exit_rank, unit.exit_day, unit.exit_price = trade_index, next(ranks), day, price


def deliver_units(a: list[Unit], b: list[Unit], trade_index: int, method: str) -> None:
    """Close the short units of one list with the long units of the other, one by one, for what these have cost."""
    while True:
        open_a, open_b = ([unit for unit in units if unit.exit_trade_index is None] for units in (a, b))
        if not open_a or not open_b or open_a[0].sign == open_b[0].sign:
            return
        long, short = sorted((_next(open_a, method), _next(open_b, method)), key=lambda unit: -unit.sign)
        long.exit_trade_index = short.exit_trade_index = trade_index
        long.exit_price = short.exit_price = long.price
        long.is_delivered = True


def _next(open_units: list[Unit], method: str) -> Unit:
    if method == "hifo":
        return max(open_units, key=lambda unit: unit.price)
    return open_units[0 if method == "fifo" else -1]


def apply_wash_sales(units: list[Unit], orders: Sequence[int]) -> None:
    """Apply IRS Pub. 550 literally: sales in time order, replacements in purchase order, each used once.

    `orders` has the number of the order of each trade. A sale is complete with its order's last trade: units that
    are no longer held then do not replace it.
    """
    last_trade_of = {order: index for index, order in enumerate(orders)}
    closed_units = [
        (unit, last_trade_of[orders[index]]) for unit in units if (index := unit.exit_trade_index) is not None
    ]
    for unit, sale_end in sorted(closed_units, key=lambda closed: (closed[1], closed[0].exit_rank)):
        loss = unit.carried_loss - unit.pnl
        if loss <= 0:
            continue
        for other in units:
            still_open = other.exit_trade_index is None or other.exit_trade_index > sale_end
            in_window = abs(other.day - unit.exit_day) <= WASH_WINDOW_DAYS
            if (
                still_open
                and in_window
                and orders[other.trade_index] != orders[unit.trade_index]
                and other.sign == unit.sign
                and not other.is_replacement
            ):
                other.is_replacement = True
                other.carried_loss += loss
                other.term_days_before = unit.exit_day - unit.day + unit.term_days_before
                unit.disallowed_loss = loss
                break
