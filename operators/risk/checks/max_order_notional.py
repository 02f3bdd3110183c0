"""Limit the value of one order. `OrderContext.order_price` defines the price per unit."""

from operators.money import multiply
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit
from schemas.records import OrderTerms

NAME = "max_order_notional"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    notional = multiply(order.quantity, context.unit_value)
    template = f"order is worth {{}} {limits.account_currency}"
    return check_limit(NAME, order.symbol, template, notional, limits.max_order_notional, money=True)
