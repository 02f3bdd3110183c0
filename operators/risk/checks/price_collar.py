"""A limit price is not far on the wrong side of the last price: a buy above it, a sell below (a fat finger)."""

from decimal import Decimal

from operators.money import ZERO, divide
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, passed, within
from operators.risk.view import View
from schemas.records import BUY, OrderProposal

NAME = "price_collar"
_BPS = Decimal(10_000)


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    assert view.last is not None
    if order.limit_price is None:
        return passed(NAME, "no limit price", "any")
    beyond = order.limit_price - view.last if order.side == BUY else view.last - order.limit_price
    found = divide(max(ZERO, beyond) * _BPS, view.last)
    return within(NAME, order.symbol, "limit is {} bps beyond the last price", found, limits.price_collar_bps)
