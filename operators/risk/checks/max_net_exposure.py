"""Limit the net value (longs minus shorts) in the order's direction, with all open orders of its side filled."""

from decimal import Decimal

from operators.money import ZERO
from operators.risk.exposure import Exposure
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit, passed, refuse_unpriced
from schemas.records import BUY, OrderTerms

NAME = "max_net_exposure"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    limit = limits.max_net_exposure
    if not isinstance(limit, Decimal):
        return check_limit(NAME, order.symbol, "", ZERO, limit, money=True)
    if context.unpriced_symbol is not None:
        return refuse_unpriced(NAME, context.unpriced_symbol)
    buying = order.side == BUY
    pending_value = context.last_value(order.quantity)
    for symbol, position in context.book.positions.items():
        if position.orders:
            price = context.book.price(symbol)
            assert price is not None
            pending_value += position.value((position.buys if buying else position.sells).quantity, price)

    def headroom(exposure: Exposure) -> Decimal:
        net = exposure.long - exposure.short
        return limit - pending_value - (net if buying else -net)

    net_exposure = limit - context.evaluate(headroom)
    if net_exposure <= 0:
        return passed(NAME, "reduces", "any")
    template = f"order would raise net exposure to {{}} {limits.account_currency}"
    return check_limit(NAME, order.symbol, template, net_exposure, limit, money=True)
