"""A naive reference ledger: one list entry per share, and fractions instead of rounding."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple


class NaiveShare(NamedTuple):
    price: Fraction
    sign: int


def naive_book(trades: list[tuple[int, Decimal, Decimal]], cash: Decimal) -> dict[str, Fraction]:
    """Close units first in, first out, one by one. `trades` are (signed whole units, price, fee)."""
    queue: list[NaiveShare] = []
    money, realized, fees = Fraction(cash), Fraction(0), Fraction(0)
    for units, price_decimal, fee in trades:
        price, sign = Fraction(price_decimal), 1 if units > 0 else -1
        money -= units * price + Fraction(fee)
        fees += Fraction(fee)
        for _ in range(abs(units)):
            if queue and queue[0].sign != sign:
                share = queue.pop(0)
                realized += share.sign * (price - share.price)
            else:
                queue.append(NaiveShare(price, sign))
    quantity = Fraction(sum(share.sign for share in queue))
    cost = sum((share.sign * share.price for share in queue), Fraction(0))
    return {"cash": money, "realized": realized, "fees": fees, "quantity": quantity, "cost": cost}
