"""In a margin account the equity covers the initial margin of all positions, with every open order filled."""

from decimal import Decimal

from operators.money import ZERO
from operators.risk.book import Exposure
from operators.risk.margin import MarginSettings, requirement
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, amount, passed, price_unknown, refused
from operators.risk.view import View
from schemas.records import BUY, OrderProposal

NAME = "margin_initial"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    if not view.opens:
        return passed(NAME, "reduces", "any")
    if view.unpriced is not None:
        return price_unknown(NAME, view.unpriced)
    assert limits.margin is not None
    required = _required(order, view, limits.margin)

    def left(exposure: Exposure) -> Decimal:
        return view.equity(exposure) - required

    equity = required + view.measure(left)
    if equity >= required:
        return passed(NAME, amount(required), amount(equity))
    return refused(NAME, order.symbol, "order would bring initial margin to {}", amount(required), amount(equity))


def _required(order: OrderProposal, view: View, margin: MarginSettings) -> Decimal:
    """Initial margin of the whole book, the order and the worse side of all open orders filled."""
    book, total = view.book, ZERO
    symbols = list(book.holdings) if order.symbol in book.holdings else [*book.holdings, order.symbol]
    for symbol in symbols:
        holding = view.holding if symbol == order.symbol else book.holdings[symbol]
        instrument, price = view.limits.instruments.get(symbol), book.price(symbol)
        assert price is not None
        high, low = holding.quantity + holding.buys.quantity, holding.quantity - holding.sells.quantity
        if symbol == order.symbol:
            high, low = (high + order.quantity, low) if order.side == BUY else (high, low - order.quantity)
        if instrument is None:
            # Held from before the definitions changed: it needs its full value.
            total += holding.value(max(abs(high), abs(low)), price)
            continue
        total += max(requirement(margin, instrument, quantity, price).initial for quantity in (high, low))
    return total
