"""While the gateway has not found out what its broker really has, nothing new goes out."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "reconciling"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    since = view.book.reconciling
    if not since:
        return passed(NAME, "reconciled", "reconciled")
    message = f"{NAME}: the gateway is not reconciled with its broker ({since}), {order.symbol} is refused"
    return Refusal(NAME, since, "reconciled", message)
