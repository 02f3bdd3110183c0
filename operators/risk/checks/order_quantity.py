"""The quantity is within the instrument's smallest and largest, and the portfolio's largest order."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, check_limit, number_text
from schemas.records import OrderProposal

NAME = "order_quantity"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    instrument, quantity = context.instrument, order.quantity
    if quantity < instrument.min_quantity and context.opening_quantity:
        minimum = number_text(instrument.min_quantity)
        return Refusal(
            NAME,
            number_text(quantity),
            minimum,
            f"{NAME}: {order.symbol} is {number_text(quantity)}, at least {minimum}",
        )
    if instrument.max_quantity is not None and quantity > instrument.max_quantity:
        return check_limit(NAME, order.symbol, "order is {} units", quantity, instrument.max_quantity)
    return check_limit(NAME, order.symbol, "order is {} units", quantity, limits.max_order_quantity)
