"""The quantity is within the instrument's smallest and largest, and the portfolio's largest order."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "order_quantity"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    assert view.instrument is not None
    one, quantity = view.instrument, order.quantity
    if quantity < one.min_quantity and view.opens:
        least = number(one.min_quantity)
        return Refusal(NAME, number(quantity), least, f"{NAME}: {order.symbol} is {number(quantity)}, at least {least}")
    if one.max_quantity is not None and quantity > one.max_quantity:
        return within(NAME, order.symbol, "order is {} units", quantity, one.max_quantity)
    return within(NAME, order.symbol, "order is {} units", quantity, limits.max_order_quantity)
