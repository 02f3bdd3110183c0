"""Reject an order that would trade against an own open order."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number_text, passed
from schemas.records import BUY, OrderTerms

NAME = "self_trade"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    for order_id, other in context.position.orders.items():
        if other.side == order.side:
            continue
        if order.limit_price is None or other.limit is None:
            crosses = True
        elif order.side == BUY:
            crosses = order.limit_price >= other.limit
        else:
            crosses = order.limit_price <= other.limit
        if crosses:
            price_text = "market" if other.limit is None else number_text(other.limit)
            other_text = f"own order {order_id} ({other.side} {price_text})"
            message = f"{NAME}: {order.symbol} order would trade against {other_text}"
            return Refusal(NAME, order_id, "no own order", message)
    return passed(NAME, "none", "no own order")
