"""Once the equity has fallen by such a part from its highest, only orders that reduce a position go out."""

from decimal import Decimal

from operators.money import ZERO, divide, multiply
from operators.risk.book import Exposure
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit, number_text, passed, refuse_unpriced, refused
from schemas.records import OrderProposal

NAME = "max_drawdown"
_PLACES = Decimal("0.0001")


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    limit = limits.max_drawdown
    if context.only_reduces:
        return passed(NAME, "reduces", "any")
    if not isinstance(limit, Decimal):
        return check_limit(NAME, order.symbol, "", ZERO, limit)
    if context.unpriced_symbol is not None:
        return refuse_unpriced(NAME, context.unpriced_symbol)
    peak = context.history.peak_equity

    def headroom(exposure: Exposure) -> Decimal:
        return multiply(limit, peak) - peak + context.equity(exposure)

    remaining = context.evaluate(headroom)
    drawdown_text = (
        number_text(divide(multiply(limit, peak) - remaining, peak).quantize(_PLACES)) if peak > 0 else "no equity"
    )
    if remaining >= 0 and peak > 0:
        return passed(NAME, drawdown_text, number_text(limit))
    return refused(NAME, order.symbol, "order would open in a drawdown of {}", drawdown_text, number_text(limit))
