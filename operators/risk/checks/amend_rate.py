"""At most so many wishes to change an order within a window of event time, refused ones among them."""

from decimal import Decimal

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, passed, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "amend_rate"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    if not view.amends:
        return passed(NAME, "a new order", "amends only")
    what = "amend would be number {} within " + f"{limits.order_window_s:f} s"
    return within(NAME, order.symbol, what, Decimal(len(view.history.amends)), limits.max_amends_in_window)
