"""Limit the number of amendment requests within a window of event time. Rejected requests count too."""

from decimal import Decimal

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit, passed
from schemas.records import OrderTerms

NAME = "amend_rate"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    if not context.is_amendment:
        return passed(NAME, "new order", "amendments only")
    template = "amendment would be number {} within " + f"{limits.order_window_s:f} s"
    return check_limit(
        NAME, order.symbol, template, Decimal(len(context.history.amendments)), limits.max_amends_in_window
    )
