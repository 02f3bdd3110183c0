"""One order is worth at most so much. A market order at the last price, a buy limit at its limit."""

from operators.money import multiply
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_order_notional"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    notional = multiply(order.quantity, view.unit)
    return within(NAME, order.symbol, "order is worth {}", notional, limits.max_order_notional, money=True)
