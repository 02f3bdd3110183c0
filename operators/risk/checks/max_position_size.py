"""Limit the value of one symbol at its last price, with every open order of the order's side filled."""

from operators.money import ZERO
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit
from schemas.records import OrderTerms

NAME = "max_position_size"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    size = context.last_value(max(context.resulting_quantity, ZERO))
    template = f"position would be worth {{}} {limits.account_currency}"
    return check_limit(NAME, order.symbol, template, size, limits.max_position_size, money=True)
