"""One order is worth at most so much. A market order at the last price, a buy limit at its limit."""

from operators.money import multiply
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit
from schemas.records import OrderProposal

NAME = "max_order_notional"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    notional = multiply(order.quantity, context.unit_value)
    return check_limit(NAME, order.symbol, "order is worth {}", notional, limits.max_order_notional, money=True)
