"""At most so many approved orders that have not ended."""

from decimal import Decimal

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_open_orders"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    count = Decimal(len(view.book.symbol_of) + 1)
    return within(NAME, order.symbol, "order would be open order number {}", count, limits.max_open_orders)
