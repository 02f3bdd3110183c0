"""Limit the quantity of one order as a share of average daily volume. An unknown volume rejects the order."""

from operators.money import divide
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, check_limit
from schemas.records import OrderTerms

NAME = "max_volume_share"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    volume = context.history.average_volume(order.symbol)
    if not volume:
        return Refusal(NAME, "unknown", "known", f"{NAME}: no average daily volume for {order.symbol} yet")
    share = divide(order.quantity, volume)
    return check_limit(NAME, order.symbol, "order is {} of average daily volume", share, limits.max_volume_share)
