"""Limit the number of approved orders within a window of event time."""

from decimal import Decimal

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit
from schemas.records import OrderTerms

NAME = "order_rate"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    since_ns = context.ts_ns - int(limits.order_window_s * 1_000_000_000)
    count = 1 + sum(1 for approved in context.history.recent_approvals(context.ts_ns) if approved.ts_ns > since_ns)
    template = "order would be order number {} within " + f"{limits.order_window_s:f} s"
    return check_limit(NAME, order.symbol, template, Decimal(count), limits.max_orders_in_window)
