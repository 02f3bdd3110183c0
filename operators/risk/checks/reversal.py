"""Reject an order that closes a position and opens the opposite one, if the settings forbid it."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number_text, passed
from schemas.records import OrderTerms

NAME = "reversal"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    closing_quantity = order.quantity - context.opening_quantity
    if not context.opening_quantity or not closing_quantity:
        return passed(NAME, "no", "no")
    effect = f"closes {number_text(closing_quantity)} and opens {number_text(context.opening_quantity)}"
    message = f"{NAME}: {order.symbol} order {effect} units. Send one order to close and another to open"
    return Refusal(NAME, effect, "close or open", message)
