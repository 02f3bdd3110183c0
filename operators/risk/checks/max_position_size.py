"""At most so much money in one symbol at its last price, long or short, with every open order of that side filled."""

from operators.money import ZERO
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit
from schemas.records import OrderProposal

NAME = "max_position_size"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    size = context.last_value(max(context.resulting_quantity, ZERO))
    return check_limit(NAME, order.symbol, "would be worth {}", size, limits.max_position_size, money=True)
