"""Limit the adjustment of an open position: by a no-trade band and by a turnover limit."""

from __future__ import annotations

from decimal import Decimal

from operators.money import floor_to, portion


def apply_no_trade_band(current: Decimal, target: Decimal, band: Decimal) -> Decimal:
    """Return `current` if it differs from `target` by less than the share `band` of the target, otherwise `target`.

    >>> apply_no_trade_band(Decimal(97), Decimal(100), Decimal("0.05"))
    Decimal('97')
    >>> apply_no_trade_band(Decimal(90), Decimal(100), Decimal("0.05"))
    Decimal('100')
    """
    return current if abs(target - current) < abs(target) * band else target


def adjust_partly(
    current: Decimal, target: Decimal, allowed: Decimal, requested: Decimal, lot_size: Decimal
) -> Decimal:
    """Move from `current` towards `target` by the fraction `allowed` / `requested`, rounded down to whole lots.

    >>> adjust_partly(Decimal(100), Decimal(50), Decimal(1000), Decimal(3000), Decimal(1))
    Decimal('84.000000000')
    """
    step = floor_to(min(portion(abs(target - current), allowed, requested), abs(target - current)), lot_size)
    return current + step if target > current else current - step
