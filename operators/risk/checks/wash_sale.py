"""Notes on the order that it buys back what was just sold at a loss: the loss may not count (IRS publication 550)."""

from decimal import Decimal

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, number, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "wash_sale"
_DAY, _TENTH = Decimal(86_400_000_000_000), Decimal("0.1")


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    sold_ns = view.history.sold_at_loss(order.symbol, view.ts_ns)
    limit = f"{limits.wash_sale_days} days"
    if sold_ns is None or not view.opens:
        return passed(NAME, "none", limit)
    days = Decimal(view.ts_ns - sold_ns) / _DAY
    return passed(NAME, f"warning: sold at a loss {number(days.quantize(_TENTH))} days ago", limit)
