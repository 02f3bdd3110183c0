"""Require a minimum value for an order that opens a position: the higher of the instrument's and the portfolio's."""

from operators.money import multiply
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, money_text, passed
from schemas.records import OrderTerms

NAME = "min_order_notional"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    minimum = max(context.instrument.min_notional, limits.min_order_notional)
    notional = multiply(order.quantity, context.unit_value)
    if notional >= minimum or not context.opening_quantity:
        return passed(NAME, money_text(notional), money_text(minimum))
    worth = f"{money_text(notional)} {limits.account_currency}"
    message = f"{NAME}: {order.symbol} order is worth {worth}, minimum {money_text(minimum)}"
    return Refusal(NAME, money_text(notional), money_text(minimum), message)
