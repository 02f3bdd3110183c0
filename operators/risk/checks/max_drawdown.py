"""Once the equity has fallen by such a part from its highest, only orders that reduce a position go out."""

from decimal import Decimal

from operators.money import ZERO, divide, multiply
from operators.risk.book import Exposure
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, number, passed, price_unknown, refused, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_drawdown"
_PLACES = Decimal("0.0001")


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    limit = limits.max_drawdown
    if view.reduces:
        return passed(NAME, "reduces", "any")
    if not isinstance(limit, Decimal):
        return within(NAME, order.symbol, "", ZERO, limit)
    if view.unpriced is not None:
        return price_unknown(NAME, view.unpriced)
    peak = view.history.peak_equity

    def left(exposure: Exposure) -> Decimal:
        return multiply(limit, peak) - peak + view.equity(exposure)

    remains = view.measure(left)
    found = number(divide(multiply(limit, peak) - remains, peak).quantize(_PLACES)) if peak > 0 else "no equity"
    if remains >= 0 and peak > 0:
        return passed(NAME, found, number(limit))
    return refused(NAME, order.symbol, "order would open in a drawdown of {}", found, number(limit))
