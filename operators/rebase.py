"""Scale a base of losses, such as peak equity, by money that moves into or out of the account."""

from __future__ import annotations

from decimal import Decimal

from operators.money import ZERO, divide, multiply


def rebase(base: Decimal, before: Decimal, after: Decimal) -> Decimal:
    """Scale a base of losses (peak or day-start equity) by a flow that changes equity from `before` to `after`.

    The loss from the base, as a fraction, is the same before and after the flow. Without capital before or after the
    flow, the base restarts at the new equity.

    >>> rebase(Decimal(100), Decimal(90), Decimal(180))
    Decimal('200.000000000')
    """
    if before <= 0 or after <= 0:
        return max(after, ZERO)
    return divide(multiply(base, after), before)
