"""Limit the value of one symbol as a share of equity."""

from operators.money import ZERO
from operators.risk.equity_share import check_equity_share
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict
from schemas.records import OrderTerms

NAME = "max_concentration"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    value = context.last_value(max(context.resulting_quantity, ZERO))
    template = "position would be {} of equity"
    return check_equity_share(NAME, context, template, value, limits.max_concentration)
