"""One symbol is worth at most such a part of the equity."""

from operators.money import ZERO
from operators.risk.settings import RiskSettings
from operators.risk.shares import share_of_equity
from operators.risk.verdict import Verdict
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_concentration"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    value = view.last_value(max(view.reached, ZERO))
    what = "would be {} of equity"
    return share_of_equity(NAME, view, what, value, limits.max_concentration)
