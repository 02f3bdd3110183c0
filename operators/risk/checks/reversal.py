"""One order does not close a position and open the opposite, where that is not allowed."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "reversal"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    closes = order.quantity - view.opens
    if not view.opens or not closes:
        return passed(NAME, "no", "no")
    found = f"closes {number(closes)} and opens {number(view.opens)}"
    return Refusal(NAME, found, "one or the other", f"{NAME}: {order.symbol} {found}, limit one or the other")
