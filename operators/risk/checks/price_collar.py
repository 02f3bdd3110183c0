"""Reject a limit price too far through the last price (fat-finger check): a buy above it, a sell below it."""

from decimal import Decimal

from operators.money import ZERO, divide
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit, passed
from schemas.records import BUY, OrderProposal

NAME = "price_collar"
_BPS = Decimal(10_000)


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.last_price is not None
    if order.limit_price is None:
        return passed(NAME, "no limit price", "any")
    beyond = order.limit_price - context.last_price if order.side == BUY else context.last_price - order.limit_price
    beyond_bps = divide(max(ZERO, beyond) * _BPS, context.last_price)
    template = "limit price is {} bps beyond the last price"
    return check_limit(NAME, order.symbol, template, beyond_bps, limits.price_collar_bps)
