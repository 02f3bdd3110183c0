"""The last bar of the symbol must be recent in event time. A no-trade bar counts: the feed lives, nothing traded."""

from decimal import Decimal

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "stale_price"
_SECOND = Decimal(1_000_000_000)


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    age_s = (view.ts_ns - view.book.last[order.symbol].ts_ns) / _SECOND
    return within(NAME, order.symbol, "has a price {} s old", age_s, limits.stale_price_s)
