"""Limit the number of open orders."""

from decimal import Decimal

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit
from schemas.records import OrderTerms

NAME = "max_open_orders"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    count = Decimal(len(context.book.symbol_of) + 1)
    return check_limit(NAME, order.symbol, "order would be open order number {}", count, limits.max_open_orders)
