"""Require a limit price that is a multiple of the instrument's tick size."""

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
    price_text, tick_text = number_text(price), number_text(tick)
    message = f"{NAME}: {order.symbol} limit price {price_text} is not a multiple of tick size {tick_text}"
    return Refusal(NAME, number_text(price), number_text(tick), message)
