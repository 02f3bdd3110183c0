"""Reject every new order until the gateway is reconciled with the broker."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import OrderTerms

NAME = "reconciling"
_PASSED = passed(NAME, "reconciled", "reconciled")


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    reason = context.book.reconciling
    if not reason:
        return _PASSED
    message = f"{NAME}: {order.symbol} order is rejected until the gateway is reconciled with the broker ({reason})"
    return Refusal(NAME, reason, "reconciled", message)
