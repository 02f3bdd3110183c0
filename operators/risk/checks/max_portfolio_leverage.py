"""Limit the gross value of all positions, with every open order filled, as a multiple of equity."""

from decimal import Decimal

from operators.money import divide, multiply
from operators.risk.exposure import Exposure
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import PassedLimit, Verdict, check_limit, number_text, passed, refuse_unpriced, refused
from schemas.records import OrderTerms

NAME = "max_portfolio_leverage"
_HUNDREDTH = Decimal("0.01")


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    limit = limits.max_portfolio_leverage
    added_exposure = context.added_exposure
    if not added_exposure:
        return passed(NAME, "reduces", "any")
    if limit is None or isinstance(limit, str):  # UNLIMITED
        return check_limit(NAME, order.symbol, "", added_exposure, limit, money=True)
    if context.unpriced_symbol is not None:
        return refuse_unpriced(NAME, context.unpriced_symbol)

    def headroom(exposure: Exposure) -> Decimal:
        return multiply(limit, context.equity(exposure)) - exposure.worst_gross - added_exposure

    remaining = context.evaluate(headroom)
    equity = context.equity(context.exposure)
    if equity <= 0:
        leverage_text = "no equity"
    else:
        worst_gross = context.exposure.worst_gross + added_exposure

        def leverage() -> Decimal:
            return divide(worst_gross, equity).quantize(_HUNDREDTH)

        if remaining >= 0:
            return PassedLimit(NAME, leverage, limit, money=False)
        leverage_text = number_text(leverage())
    if remaining >= 0:
        return passed(NAME, leverage_text, number_text(limit))
    template = "order would raise leverage to {} times equity" if equity > 0 else "order would add exposure with {}"
    return refused(NAME, order.symbol, template, leverage_text, number_text(limit))
