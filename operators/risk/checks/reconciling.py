"""While the gateway has not found out what its broker really has, nothing new goes out."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import OrderProposal

NAME = "reconciling"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    reason = context.book.reconciling
    if not reason:
        return passed(NAME, "reconciled", "reconciled")
    message = f"{NAME}: the gateway is not reconciled with its broker ({reason}), {order.symbol} is refused"
    return Refusal(NAME, reason, "reconciled", message)
