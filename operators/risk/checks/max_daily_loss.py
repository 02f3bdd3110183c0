"""Allow only reducing orders while the daily loss is above the limit.

The daily loss is the equity at the start of the trading day (at the last prices of the previous day) minus the current
equity. It includes realized and unrealized losses and fees.
"""

from decimal import Decimal

from operators.money import ZERO
from operators.risk.exposure import Exposure
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import PassedLimit, Refusal, Verdict, check_limit, money_text, passed, refuse_unpriced
from schemas.records import OrderTerms

NAME = "max_daily_loss"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    limit = limits.max_daily_loss
    if context.only_reduces:
        return passed(NAME, "reduces", "any")
    if limit is None or isinstance(limit, str):  # UNLIMITED
        return check_limit(NAME, order.symbol, "", ZERO, limit, money=True)
    if context.unpriced_symbol is not None:
        return refuse_unpriced(NAME, context.unpriced_symbol)

    def headroom(exposure: Exposure) -> Decimal:
        return limit - context.book.day_start_equity + context.book.equity_at(exposure)

    remaining = context.evaluate(headroom)
    found = max(ZERO, limit - remaining)
    if remaining >= 0:
        return PassedLimit(NAME, found, limit, money=True)
    loss_text, limit_text = money_text(found), money_text(limit)
    loss = f"daily loss is {loss_text} {limits.account_currency}, limit {limit_text}"
    message = f"{NAME}: {loss}; {order.symbol} order would open or increase a position"
    return Refusal(NAME, loss_text, limit_text, message)
