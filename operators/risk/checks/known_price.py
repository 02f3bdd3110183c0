"""Reject an order whose symbol has no price. The checks after this one need a price."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import PassedLimit, Refusal, Verdict, money_text
from schemas.records import OrderTerms

NAME = "known_price"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    if context.last_price is not None and context.last_price > 0:
        return PassedLimit(NAME, context.last_price, "above 0", money=True)
    if context.last_price is None:
        message = f"{NAME}: No market data for {order.symbol}. Check the symbol"
        return Refusal(NAME, "no market data", "above 0", message)
    price_text = money_text(context.last_price)
    return Refusal(NAME, price_text, "above 0", f"{NAME}: {order.symbol} last price is {price_text}, must be above 0")
