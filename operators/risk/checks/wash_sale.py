"""Note on an order that it buys back a symbol recently sold at a loss (wash sale, IRS Publication 550).

This check never rejects an order.
"""

from decimal import Decimal

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, number_text, passed
from schemas.records import OrderTerms

NAME = "wash_sale"
_DAY, _TENTH = Decimal(86_400_000_000_000), Decimal("0.1")


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    sold_ns = context.history.last_loss_sale_ns(order.symbol, context.ts_ns)
    limit = f"{limits.wash_sale_days} days"
    if sold_ns is None or not context.opening_quantity:
        return passed(NAME, "none", limit)
    days = Decimal(context.ts_ns - sold_ns) / _DAY
    return passed(NAME, f"warning: sold at a loss {number_text(days.quantize(_TENTH))} days ago", limit)
