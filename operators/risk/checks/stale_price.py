"""Limit the age of the symbol's last bar in event time. A bar without a trade counts, because the feed is alive.

While the market is closed, the price does not age: an order for the next open is judged by the last close.
"""

from decimal import Decimal
from functools import lru_cache

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import PassedLimit, Verdict, check_limit
from schemas.records import OrderTerms

NAME = "stale_price"
_SECOND = Decimal(1_000_000_000)


@lru_cache(maxsize=8)  # of the settings, for every order
def _to_ns(seconds: Decimal) -> int:
    return int(seconds * _SECOND)


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    limit = limits.stale_price_s
    enough_ns = _to_ns(limit) if isinstance(limit, Decimal) else 0
    age_ns = context.book.price_age_ns(order.symbol, context.ts_ns, enough_ns)
    if isinstance(limit, Decimal) and age_ns <= enough_ns:
        return PassedLimit(NAME, lambda: age_ns / _SECOND, limit, money=False)
    clock_age_ns = context.ts_ns - context.book.last_bars[order.symbol].ts_ns
    template = "price is {} s old" if age_ns == clock_age_ns else "price is {} s of trading time old"
    return check_limit(NAME, order.symbol, template, age_ns / _SECOND, limit)
