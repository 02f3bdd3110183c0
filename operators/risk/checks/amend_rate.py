"""At most so many wishes to change an order within a window of event time, refused ones among them."""

from decimal import Decimal

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit, passed
from schemas.records import OrderProposal

NAME = "amend_rate"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    if not context.is_amendment:
        return passed(NAME, "a new order", "amends only")
    template = "amend would be number {} within " + f"{limits.order_window_s:f} s"
    return check_limit(
        NAME, order.symbol, template, Decimal(len(context.history.amendments)), limits.max_amends_in_window
    )
