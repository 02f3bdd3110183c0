"""Require a quantity that is a multiple of the lot size.

A quantity that closes the position exactly also passes, because a split can leave a fraction of a lot.
"""

from operators.risk.order_context import OrderContext
from operators.risk.order_rules import check_lot
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict
from schemas.records import OrderTerms


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    return check_lot(order, context.instrument, context.position.quantity)
