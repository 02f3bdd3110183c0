"""Without a price nothing else can be judged: refuse."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, amount, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "known_price"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    if view.last is not None and view.last > 0:
        return passed(NAME, amount(view.last), "above 0")
    found = "no bar yet" if view.last is None else amount(view.last)
    return Refusal(NAME, found, "above 0", f"{NAME}: {order.symbol} has no price to judge by ({found})")
