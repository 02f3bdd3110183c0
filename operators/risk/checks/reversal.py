"""One order does not close a position and open the opposite, where that is not allowed."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number_text, passed
from schemas.records import OrderProposal

NAME = "reversal"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    closing_quantity = order.quantity - context.opening_quantity
    if not context.opening_quantity or not closing_quantity:
        return passed(NAME, "no", "no")
    effect = f"closes {number_text(closing_quantity)} and opens {number_text(context.opening_quantity)}"
    return Refusal(NAME, effect, "one or the other", f"{NAME}: {order.symbol} {effect}, limit one or the other")
