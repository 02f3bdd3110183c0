"""Lots unit by unit, with all of the tape known in advance: the slow and obvious reference for the tax books."""

from __future__ import annotations

from fractions import Fraction

WINDOW = 30


class Unit:
    """One unit bought (or sold short). `sign` is 1 for long."""

    def __init__(self, at: int, day: int, price: Fraction, sign: int) -> None:
        self.at, self.day, self.price, self.sign = at, day, price, sign
        self.exit_at: int | None = None
        self.exit_rank = 0
        self.exit_day = 0
        self.exit_price = Fraction(0)
        self.carried = Fraction(0)
        self.disallowed = Fraction(0)
        self.held_before = 0
        self.replaces = False

    @property
    def pnl(self) -> Fraction:
        return self.sign * (self.exit_price - self.price)


def naive_units(trades: list[tuple[int, int, Fraction]], method: str) -> list[Unit]:
    """`trades` are (day, signed whole units, price) in order of time. Every unit ever opened, in order of opening."""
    everything: list[Unit] = []
    exits = 0
    for at, (day, quantity, price) in enumerate(trades):
        sign = 1 if quantity > 0 else -1
        for _ in range(abs(quantity)):
            held = [unit for unit in everything if unit.exit_at is None and unit.sign != sign]
            if not held:
                everything.append(Unit(at, day, price, sign))
                continue
            unit = {
                "fifo": lambda held=held: held[0],
                "lifo": lambda held=held: held[-1],
                "hifo": lambda held=held: max(held, key=lambda u: u.price),
            }[method]()
            exits += 1
            unit.exit_at, unit.exit_rank, unit.exit_day, unit.exit_price = at, exits, day, price
    return everything


def wash(units: list[Unit]) -> None:
    """IRS Pub. 550 by the letter: sales in order of time, replacements in order of purchase, each used once."""
    sold = [unit for unit in units if unit.exit_at is not None]
    for unit in sorted(sold, key=lambda u: u.exit_rank):
        loss = unit.carried - unit.pnl
        if loss <= 0:
            continue
        for other in units:
            kept = other.exit_at is None or other.exit_at > (unit.exit_at or 0)
            near = abs(other.day - unit.exit_day) <= WINDOW
            if kept and near and other.at != unit.at and other.sign == unit.sign and not other.replaces:
                other.replaces = True
                other.carried += loss
                other.held_before = unit.exit_day - unit.day + unit.held_before
                unit.disallowed = loss
                break
