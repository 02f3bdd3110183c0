"""At most so many approvals within a window of event time."""

from decimal import Decimal

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "order_rate"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    since = view.ts_ns - int(limits.order_window_s * 1_000_000_000)
    count = 1 + sum(1 for sent in view.history.recent(view.ts_ns) if sent.ts_ns > since)
    what = "order would be number {} within " + f"{limits.order_window_s:f} s"
    return within(NAME, order.symbol, what, Decimal(count), limits.max_orders_in_window)
