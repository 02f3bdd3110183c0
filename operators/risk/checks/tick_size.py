"""A limit price is a multiple of the instrument's tick."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "tick_size"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    assert view.instrument is not None
    price = order.limit_price
    if price is None:
        return passed(NAME, "no limit price", "any")
    tick = view.instrument.tick_at(price)
    if not price % tick:
        return passed(NAME, number(price), number(tick))
    message = f"{NAME}: {order.symbol} limit price {number(price)} is no multiple of {number(tick)}"
    return Refusal(NAME, number(price), number(tick), message)
