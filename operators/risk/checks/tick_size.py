"""Require limit and stop prices that are multiples of the instrument's tick size."""

from operators.risk.order_context import OrderContext
from operators.risk.order_rules import check_tick
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict
from schemas.records import OrderTerms


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    return check_tick(order, context.instrument)
