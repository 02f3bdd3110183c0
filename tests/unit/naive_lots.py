"""A slow and simple reference for the tax books. It tracks single units and knows the whole tape in advance."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

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

    @property
    def pnl(self) -> Fraction:
        return self.sign * (self.exit_price - self.price)


def naive_units(trades: Sequence[tuple[int, int, Fraction]], method: str) -> list[Unit]:
    """Return every unit ever opened, in opening order. `trades` are (day, signed whole units, price) in time order."""
    units: list[Unit] = []
    exits = 0
    for trade_index, (day, quantity, price) in enumerate(trades):
        sign = 1 if quantity > 0 else -1
        for _ in range(abs(quantity)):
            open_units = [unit for unit in units if unit.exit_trade_index is None and unit.sign != sign]
            if not open_units:
                units.append(Unit(trade_index, day, price, sign))
                continue
            unit = {
                "fifo": lambda open_units=open_units: open_units[0],
                "lifo": lambda open_units=open_units: open_units[-1],
                "hifo": lambda open_units=open_units: max(open_units, key=lambda u: u.price),
            }[method]()
            exits += 1
            unit.exit_trade_index, unit.exit_rank, unit.exit_day, unit.exit_price = trade_index, exits, day, price
    return units


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
