"""Reject an order that repeats a recently approved one: same symbol, side, quantity and limit price."""

from decimal import Decimal

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number_text, passed
from schemas.records import OrderTerms

NAME = "duplicate"
_SECOND = Decimal(1_000_000_000)


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    window_text = number_text(limits.duplicate_window_s)
    since_ns = context.ts_ns - int(limits.duplicate_window_s * _SECOND)
    for approved in reversed(context.history.recent_approvals(context.ts_ns)):
        if approved.ts_ns <= since_ns:
            break
        if approved[1:] == (order.symbol, order.side, order.quantity, order.limit_price):
            age_s_text = number_text((context.ts_ns - approved.ts_ns) / _SECOND)
            message = f"{NAME}: same {order.symbol} order was approved {age_s_text} s ago, minimum {window_text} s"
            return Refusal(NAME, age_s_text, window_text, message)
    return passed(NAME, "none", window_text)
