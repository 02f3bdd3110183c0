"""Allow a short position only if the settings allow shorts, the instrument is shortable and enough can be borrowed."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, check_limit, number_text, passed
from schemas.records import BUY, OrderTerms

NAME = "short_sale"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    if order.side == BUY or context.resulting_quantity <= 0:
        return passed(NAME, "not short", "any")
    if not limits.allow_short:
        return _refused(order, context, "no short positions", "but the settings allow no short positions")
    if not context.instrument.shortable:
        return _refused(order, context, "not shortable", "but the instrument is not shortable")
    if context.instrument.borrowable is None:
        return passed(NAME, number_text(context.resulting_quantity), "easy to borrow")
    return check_limit(
        NAME, order.symbol, "would be {} units short", context.resulting_quantity, context.instrument.borrowable
    )


def _refused(order: OrderTerms, context: OrderContext, limit: str, reason: str) -> Refusal:
    short_text = number_text(context.resulting_quantity)
    return Refusal(NAME, short_text, limit, f"{NAME}: {order.symbol} would be {short_text} units short, {reason}")
