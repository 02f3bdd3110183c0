"""Decimals in tests, from the numbers and texts that tests write."""

from __future__ import annotations

from decimal import Decimal

Amount = Decimal | int | float | str
ZERO = Decimal(0)


def to_decimal(amount: Amount) -> Decimal:
    """Convert exactly: `100.1` is 100.1, not its binary neighbour."""
    return Decimal(repr(amount)) if isinstance(amount, float) else Decimal(amount)


def optional_decimal(amount: Amount | None) -> Decimal | None:
    return None if amount is None else to_decimal(amount)
