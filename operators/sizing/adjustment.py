"""How far an adjustment of a position that stays is traded: not at all within the band, in part under a turnover."""

from __future__ import annotations

from decimal import Decimal

from operators.money import floor_to, portion


def beyond_band(held: Decimal, wanted: Decimal, band: Decimal) -> Decimal:
    """`wanted`, or `held` where they differ by less than `band` of what is wanted.

    >>> beyond_band(Decimal(97), Decimal(100), Decimal("0.05")), beyond_band(Decimal(90), Decimal(100), Decimal("0.05"))
    (Decimal('97'), Decimal('100'))
    """
    return held if abs(wanted - held) < abs(wanted) * band else wanted


def part_of_the_way(held: Decimal, wanted: Decimal, allowed: Decimal, asked: Decimal, lot: Decimal) -> Decimal:
    """From `held` towards `wanted` by `allowed` / `asked` of the way, in whole lots and never further.

    >>> part_of_the_way(Decimal(100), Decimal(50), Decimal(1000), Decimal(3000), Decimal(1))
    Decimal('84.000000000')
    """
    step = floor_to(min(portion(abs(wanted - held), allowed, asked), abs(wanted - held)), lot)
    return held + step if wanted > held else held - step
