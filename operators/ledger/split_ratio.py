"""The rule by which every book converts quantities and prices at a split.

A record holds a ratio with nine decimals, so 1-for-3 is 0.333333333. The books compute with the exact ratio 1/3, so
that 300 shares become 100 everywhere, as at the broker.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final

from operators.money import EIGHTEEN_PLACES, NINE_PLACES, ZERO, Places

ROUNDING_REMAINDER = Decimal("0.000001")
"""A remainder too small to trade, left by the rounded ratio of a split. Only split symbols have one."""
_DENOMINATOR_MAX: Final = 10_000
"""Two different fractions with denominators up to this differ by 1e-8, so nine decimals identify one of them."""


@lru_cache(maxsize=1024)
def exact_ratio(ratio: Decimal) -> Fraction:
    """Return the fraction that a ratio of nine or more decimals stands for.

    It stands for the fraction of a denominator up to 10,000 that rounds to it. A ratio without such a fraction is
    exact.

    >>> exact_ratio(Decimal("0.333333333")), exact_ratio(Decimal("1.5")), exact_ratio(Decimal("0.3333"))
    (Fraction(1, 3), Fraction(3, 2), Fraction(3333, 10000))
    """
    literal = Fraction(ratio)
    simplest = literal.limit_denominator(_DENOMINATOR_MAX)
    exponent = ratio.as_tuple().exponent
    assert isinstance(exponent, int), f"{ratio} is finite"
    unit = Decimal(1).scaleb(min(exponent, -9))  # the ratio was rounded to this
    value = EIGHTEEN_PLACES.divide(Decimal(simplest.numerator), Decimal(simplest.denominator))
    return simplest if simplest and abs(value - ratio) * 2 <= unit else literal


def split_quantity(quantity: Decimal, ratio: Decimal, places: Places = NINE_PLACES) -> Decimal:
    """Return the quantity after a split into `ratio` new units per old unit, rounded once.

    With nine places, a result within `ROUNDING_REMAINDER` of a whole number becomes that number.

    >>> split_quantity(Decimal(300_000_000), Decimal("0.333333333"))
    Decimal('100000000.000000000')
    """
    exact = exact_ratio(ratio)
    after = places.portion(quantity, Decimal(exact.numerator), Decimal(exact.denominator))
    if places is not NINE_PLACES:
        return after
    rounded = places.quantize(after.to_integral_value())
    return rounded if rounded and abs(after - rounded) <= ROUNDING_REMAINDER else after


def split_units(quantity: Decimal, ratio: Decimal) -> Decimal:
    """Return the quantity after a split. A remainder that is too small to trade counts as 0.

    >>> split_units(Decimal("0.000003"), Decimal("0.333333333"))
    Decimal('0E-9')
    """
    after = split_quantity(quantity, ratio)
    return ZERO if abs(after) <= ROUNDING_REMAINDER else after


def units_after_trade(before: Decimal, traded: Decimal, *, was_split: bool) -> Decimal:
    """Return the position of the account after a trade, in signed units, as `LotBook.close` does for its lots.

    In a split symbol, a trade that leaves at most the rounding remainder closes the position.

    >>> units_after_trade(Decimal("33.333333333"), Decimal("-33.333333"), was_split=True)
    Decimal('0E-9')
    """
    after = before + traded
    return ZERO if was_split and before * traded < 0 and abs(after) <= ROUNDING_REMAINDER else after


def split_price(price: Decimal, ratio: Decimal, places: Places = NINE_PLACES) -> Decimal:
    """Return the price per new unit after a split into `ratio` new units per old unit.

    >>> split_price(Decimal("1.01"), Decimal("0.333333333"))
    Decimal('3.030000000')
    """
    exact = exact_ratio(ratio)
    return places.portion(price, Decimal(exact.denominator), Decimal(exact.numerator))
