"""Allow only reducing orders while the drawdown from the highest equity is above the limit."""

from decimal import Decimal

from operators.money import ZERO, divide, multiply
from operators.risk.exposure import Exposure
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, check_limit, number_text, passed, refuse_unpriced
from schemas.records import OrderTerms

NAME = "max_drawdown"
_PLACES = Decimal("0.0001")


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
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
    drawdown = f"drawdown is {drawdown_text} of peak equity" if peak > 0 else "peak equity is not above 0"
    effect = f"{order.symbol} order would open or increase a position"
    message = f"{NAME}: {drawdown}, limit {number_text(limit)}; {effect}"
    return Refusal(NAME, drawdown_text, number_text(limit), message)
