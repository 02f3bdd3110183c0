"""The order would not meet an open order of our own on the other side."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number, passed
from operators.risk.view import View
from schemas.records import BUY, OrderProposal

NAME = "self_trade"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    for order_id, other in view.holding.orders.items():
        if other.side == order.side:
            continue
        if order.limit_price is None or other.limit is None:
            crosses = True
        elif order.side == BUY:
            crosses = order.limit_price >= other.limit
        else:
            crosses = order.limit_price <= other.limit
        if crosses:
            found = "market" if other.limit is None else number(other.limit)
            message = f"{NAME}: {order.symbol} would meet own order {order_id} ({other.side} {found})"
            return Refusal(NAME, order_id, "no own order", message)
    return passed(NAME, "none", "no own order")
