"""Limit the gross value of all positions, with every open order filled."""

from decimal import Decimal

from operators.risk.exposure import Exposure
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit, passed, refuse_unpriced
from schemas.records import OrderTerms

NAME = "max_gross_exposure"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    limit = limits.max_gross_exposure
    if not context.added_exposure:
        return passed(NAME, "reduces", "any")
    if context.unpriced_symbol is not None:
        return refuse_unpriced(NAME, context.unpriced_symbol)
    if not isinstance(limit, Decimal):
        return check_limit(NAME, order.symbol, "", context.added_exposure, limit, money=True)

    def headroom(exposure: Exposure) -> Decimal:
        return limit - exposure.worst_gross - context.added_exposure

    gross_exposure = limit - context.evaluate(headroom)
    template = f"order would raise gross exposure to {{}} {limits.account_currency}"
    return check_limit(NAME, order.symbol, template, gross_exposure, limit, money=True)
