"""Parts of the equity, for the checks that compare with it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from operators.money import ZERO, divide, multiply
from operators.risk.book import Exposure
from operators.risk.settings import Limit
from operators.risk.verdict import Verdict, number, passed, price_unknown, refused, within
from operators.risk.view import View

_TENTH_BPS = Decimal("0.001")


def share_of_equity(check: str, view: View, what: str, value: Decimal, limit: Limit) -> Verdict:
    """Refuse where `value` is more than `limit` x equity and the order adds to a position."""
    symbol = view.order.symbol
    if not view.added:
        return passed(check, "reduces", "any")
    if not isinstance(limit, Decimal):
        return within(check, symbol, what, value, limit, money=True)
    if view.unpriced is not None:
        return price_unknown(check, view.unpriced)

    def left(exposure: Exposure) -> Decimal:
        return multiply(limit, view.equity(exposure)) - value

    remains = view.measure(left)
    equity = view.equity(view.exposure)
    found = _percent(divide(value, equity)) if equity > 0 else "all"
    if remains >= 0 and equity > 0:
        return passed(check, found, _percent(limit))
    return refused(check, symbol, what, found, _percent(limit))


def gross_of(view: View, symbols: Iterable[str]) -> Decimal:
    """Gross value of these symbols at last prices, with the open orders of the worse side filled.

    Leaves out what has no price: `share_of_equity` refuses then.
    """
    total = ZERO
    for symbol in symbols:
        holding, price = view.book.holdings.get(symbol), view.book.price(symbol)
        if holding is not None and price is not None:
            total += holding.value(holding.worst(), price)
    return total


def _percent(share: Decimal) -> str:
    """
    >>> _percent(Decimal("0.125"))
    '12.5%'
    """
    return number((share * 100).quantize(_TENTH_BPS)) + "%"
