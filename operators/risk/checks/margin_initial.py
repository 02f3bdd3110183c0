"""Require equity that covers the initial margin of all positions after every open order is filled.

Applies to margin accounts only.
"""

from decimal import Decimal

from operators.money import ZERO
from operators.risk.exposure import Exposure
from operators.risk.margin import MarginSettings, requirement
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, money_text, passed, refuse_unpriced
from schemas.records import BUY, OrderTerms

NAME = "margin_initial"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    if not context.opening_quantity:
        return passed(NAME, "reduces", "any")
    if context.unpriced_symbol is not None:
        return refuse_unpriced(NAME, context.unpriced_symbol)
    assert limits.margin is not None
    required = _required(order, context, limits.margin)

    def headroom(exposure: Exposure) -> Decimal:
        return context.equity(exposure) - required

    equity = required + context.evaluate(headroom)
    if equity >= required:
        return passed(NAME, money_text(required), money_text(equity))
    currency = limits.account_currency
    change = f"order would raise initial margin to {money_text(required)} {currency}, equity {money_text(equity)}"
    return Refusal(NAME, money_text(required), money_text(equity), f"{NAME}: {order.symbol} {change}")


def _required(order: OrderTerms, context: OrderContext, margin: MarginSettings) -> Decimal:
    """Return the initial margin of the book after this order and the worse side of all open orders are filled."""
    book, total = context.book, ZERO
    symbols = list(book.positions) if order.symbol in book.positions else [*book.positions, order.symbol]
    for symbol in symbols:
        position = context.position if symbol == order.symbol else book.positions[symbol]
        instrument, price = context.limits.instruments.get(symbol), book.price(symbol)
        assert price is not None
        long_quantity, short_quantity = (
            position.quantity + position.buys.quantity,
            position.quantity - position.sells.quantity,
        )
        if symbol == order.symbol:
            long_quantity, short_quantity = (
                (long_quantity + order.quantity, short_quantity)
                if order.side == BUY
                else (long_quantity, short_quantity - order.quantity)
            )
        if instrument is None:
            # The position was opened before the definitions changed. It needs its full value.
            total += position.value(max(abs(long_quantity), abs(short_quantity)), price)
            continue
        total += max(
            requirement(margin, instrument, quantity, price).initial for quantity in (long_quantity, short_quantity)
        )
    return total
