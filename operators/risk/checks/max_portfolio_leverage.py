"""The gross value of all positions, with every open order filled, is at most so many times the equity."""

from decimal import Decimal

from operators.money import divide, multiply
from operators.risk.book import Exposure
from operators.risk.settings import UNLIMITED, RiskSettings
from operators.risk.verdict import Verdict, number, passed, price_unknown, refused, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_portfolio_leverage"
_HUNDREDTH = Decimal("0.01")


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    limit = limits.max_portfolio_leverage
    more = view.added
    if not more:
        return passed(NAME, "reduces", "any")
    if limit is None or limit == UNLIMITED:
        return within(NAME, order.symbol, "", more, limit, money=True)
    if view.unpriced is not None:
        return price_unknown(NAME, view.unpriced)

    def left(exposure: Exposure) -> Decimal:
        return multiply(limit, view.equity(exposure)) - exposure.worst - more

    remains = view.measure(left)
    equity = view.equity(view.exposure)
    found = number(divide(view.exposure.worst + more, equity).quantize(_HUNDREDTH)) if equity > 0 else "no equity"
    if remains >= 0:
        return passed(NAME, found, number(limit))
    return refused(NAME, order.symbol, "order would bring leverage to {}", found, number(limit))
