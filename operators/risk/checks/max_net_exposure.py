"""Longs less shorts, with the open orders of the order's side filled, are at most so much to that side."""

from decimal import Decimal

from operators.money import ZERO
from operators.risk.book import Exposure
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, passed, price_unknown, within
from operators.risk.view import View
from schemas.records import BUY, OrderProposal

NAME = "max_net_exposure"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    limit = limits.max_net_exposure
    if not isinstance(limit, Decimal):
        return within(NAME, order.symbol, "", ZERO, limit, money=True)
    if view.unpriced is not None:
        return price_unknown(NAME, view.unpriced)
    buying = order.side == BUY
    waiting = view.last_value(order.quantity)
    for symbol, holding in view.book.holdings.items():
        if holding.orders:
            price = view.book.price(symbol)
            assert price is not None
            waiting += holding.value((holding.buys if buying else holding.sells).quantity, price)

    def left(exposure: Exposure) -> Decimal:
        net = exposure.long - exposure.short
        return limit - waiting - (net if buying else -net)

    found = limit - view.measure(left)
    if found <= 0:
        return passed(NAME, "reduces", "any")
    return within(NAME, order.symbol, "order would bring net exposure to {}", found, limit, money=True)
