"""Limit the age of the symbol's last bar in event time. A bar without a trade counts, because the feed is alive."""

from decimal import Decimal

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit
from schemas.records import OrderTerms

NAME = "stale_price"
_SECOND = Decimal(1_000_000_000)


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    age_s = (context.ts_ns - context.book.last_bars[order.symbol].ts_ns) / _SECOND
    return check_limit(NAME, order.symbol, "price is {} s old", age_s, limits.stale_price_s)
