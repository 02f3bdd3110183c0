"""A limit price is a multiple of the instrument's tick."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number_text, passed
from schemas.records import OrderProposal

NAME = "tick_size"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    price = order.limit_price
    if price is None:
        return passed(NAME, "no limit price", "any")
    tick = context.instrument.tick_size_at(price)
    if not price % tick:
        return passed(NAME, number_text(price), number_text(tick))
    message = f"{NAME}: {order.symbol} limit price {number_text(price)} is no multiple of {number_text(tick)}"
    return Refusal(NAME, number_text(price), number_text(tick), message)
