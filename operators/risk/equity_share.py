"""Shared logic of the checks that limit a value as a share of equity."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from operators.money import ZERO, divide, multiply
from operators.risk.exposure import Exposure
from operators.risk.order_context import OrderContext
from operators.risk.settings import Limit
from operators.risk.verdict import Verdict, check_limit, number_text, passed, refuse_unpriced, refused

_TENTH_BPS = Decimal("0.001")


def check_equity_share(check: str, context: OrderContext, template: str, value: Decimal, limit: Limit) -> Verdict:
    """Reject an order that adds exposure if `value` is above `limit` x equity. `template` formats the share."""
    symbol = context.order.symbol
    if not context.added_exposure:
        return passed(check, "reduces", "any")
    if not isinstance(limit, Decimal):
        return check_limit(check, symbol, template, value, limit, money=True)
    if context.unpriced_symbol is not None:
        return refuse_unpriced(check, context.unpriced_symbol)

    def headroom(exposure: Exposure) -> Decimal:
        return multiply(limit, context.equity(exposure)) - value

    remaining = context.evaluate(headroom)
    equity = context.equity(context.exposure)
    share_text = _percent(divide(value, equity)) if equity > 0 else "all"
    if remaining >= 0 and equity > 0:
        return passed(check, share_text, _percent(limit))
    return refused(check, symbol, template, share_text, _percent(limit))


def gross_value(context: OrderContext, symbols: Iterable[str]) -> Decimal:
    """Gross value of these symbols at last prices, with the open orders of the worse side filled.

    Symbols without a price are skipped. In that case, `check_equity_share` rejects the order.
    """
    total = ZERO
    for symbol in symbols:
        position, price = context.book.positions.get(symbol), context.book.price(symbol)
        if position is not None and price is not None:
            total += position.value(position.worst_quantity(), price)
    return total


def _percent(share: Decimal) -> str:
    """Format a fraction as a percentage.

    >>> _percent(Decimal("0.125"))
    '12.5%'
    """
    return number_text((share * 100).quantize(_TENTH_BPS)) + "%"
