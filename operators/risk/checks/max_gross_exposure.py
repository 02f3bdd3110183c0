"""The gross value of all positions, with every open order filled, is at most so much."""

from decimal import Decimal

from operators.risk.book import Exposure
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, passed, price_unknown, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_gross_exposure"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    limit = limits.max_gross_exposure
    if not view.added:
        return passed(NAME, "reduces", "any")
    if view.unpriced is not None:
        return price_unknown(NAME, view.unpriced)
    if not isinstance(limit, Decimal):
        return within(NAME, order.symbol, "", view.added, limit, money=True)

    def left(exposure: Exposure) -> Decimal:
        return limit - exposure.worst - view.added

    found = limit - view.measure(left)
    return within(NAME, order.symbol, "order would bring gross exposure to {}", found, limit, money=True)
