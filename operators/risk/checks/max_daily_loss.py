"""Once the day has lost more than so much, only orders that reduce a position go out.

The loss is the equity at the start of the trading day, at the last prices of the day before, less the equity now:
realized and unrealized, fees included.
"""

from decimal import Decimal

from operators.money import ZERO
from operators.risk.book import Exposure
from operators.risk.settings import UNLIMITED, RiskSettings
from operators.risk.verdict import Refusal, Verdict, amount, passed, price_unknown, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_daily_loss"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    limit = limits.max_daily_loss
    if view.reduces:
        return passed(NAME, "reduces", "any")
    if limit is None or limit == UNLIMITED:
        return within(NAME, order.symbol, "", ZERO, limit, money=True)
    if view.unpriced is not None:
        return price_unknown(NAME, view.unpriced)

    def left(exposure: Exposure) -> Decimal:
        return limit - view.book.day_equity + view.book.cash + exposure.long - exposure.short

    remains = view.measure(left)
    lost, limit_text = amount(max(ZERO, limit - remains)), amount(limit)
    if remains >= 0:
        return passed(NAME, lost, limit_text)
    message = f"{NAME}: the day has lost {lost}, limit {limit_text}, and the {order.symbol} order would open"
    return Refusal(NAME, lost, limit_text, message)
