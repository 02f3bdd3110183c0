"""Limit the quantity of one symbol, long or short, with every open order of the order's side filled."""

from operators.money import ZERO
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit
from schemas.records import OrderTerms

NAME = "max_position"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    return check_limit(
        NAME, order.symbol, "position would be {} units", max(context.resulting_quantity, ZERO), limits.max_position
    )
