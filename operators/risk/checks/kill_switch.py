"""Reject every new order while trading is halted, including orders that reduce a position. Cancels skip the checks."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import ACTIVE, OrderTerms

NAME = "kill_switch"
_PASSED = passed(NAME, ACTIVE, ACTIVE)


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    state = context.book.state
    if state == ACTIVE:
        return _PASSED
    since = f"since risk epoch {context.book.epoch}"
    message = f"{NAME}: trading is {state} {since}. Release the kill switch to send {order.symbol} orders"
    return Refusal(NAME, state, ACTIVE, message)
