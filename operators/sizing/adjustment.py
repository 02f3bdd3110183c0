"""How far an adjustment of a position that stays is traded: not at all within the band, in part under a turnover."""

from __future__ import annotations

from decimal import Decimal

from operators.money import floor_to, portion


def apply_no_trade_band(current: Decimal, target: Decimal, band: Decimal) -> Decimal:
    """`target`, or `current` where they differ by less than `band` of what is wanted.

    >>> apply_no_trade_band(Decimal(97), Decimal(100), Decimal("0.05")), apply_no_trade_band(Decimal(90), Decimal(100), Decimal("0.05"))
    (Decimal('97'), Decimal('100'))
    """
    return current if abs(target - current) < abs(target) * band else target


def adjust_partly(
    current: Decimal, target: Decimal, allowed: Decimal, requested: Decimal, lot_size: Decimal
) -> Decimal:
    """From `current` towards `target` by `allowed` / `requested` of the way, in whole lots and never further.

    >>> adjust_partly(Decimal(100), Decimal(50), Decimal(1000), Decimal(3000), Decimal(1))
    Decimal('84.000000000')
    """
    step = floor_to(min(portion(abs(target - current), allowed, requested), abs(target - current)), lot_size)
    return current + step if target > current else current - step
