"""Without a price nothing else can be judged: refuse."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, money_text, passed
from schemas.records import OrderProposal

NAME = "known_price"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    if context.last_price is not None and context.last_price > 0:
        return passed(NAME, money_text(context.last_price), "above 0")
    price_text = "no bar yet" if context.last_price is None else money_text(context.last_price)
    return Refusal(NAME, price_text, "above 0", f"{NAME}: {order.symbol} has no price to judge by ({price_text})")
