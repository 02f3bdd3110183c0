"""Require a quantity within the instrument's minimum and maximum and the portfolio's maximum.

An order that only reduces a position may be below the minimum.
"""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, check_limit, number_text
from schemas.records import OrderTerms

NAME = "order_quantity"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    instrument, quantity = context.instrument, order.quantity
    if quantity < instrument.min_quantity and context.opening_quantity:
        minimum = number_text(instrument.min_quantity)
        return Refusal(
            NAME,
            number_text(quantity),
            minimum,
            f"{NAME}: {order.symbol} order is {number_text(quantity)} units, minimum {minimum}",
        )
    if instrument.max_quantity is not None and quantity > instrument.max_quantity:
        return check_limit(NAME, order.symbol, "order is {} units", quantity, instrument.max_quantity)
    return check_limit(NAME, order.symbol, "order is {} units", quantity, limits.max_order_quantity)
