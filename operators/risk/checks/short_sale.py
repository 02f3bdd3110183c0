"""A sale below zero needs leave to be short, an instrument that may be, and shares to borrow."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number, passed, within
from operators.risk.view import View
from schemas.records import BUY, OrderProposal

NAME = "short_sale"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    assert view.instrument is not None
    if order.side == BUY or view.reached <= 0:
        return passed(NAME, "not short", "any")
    if not limits.allow_short:
        return _refused(order, view, "no short positions")
    if not view.instrument.shortable:
        return _refused(order, view, "not shortable")
    if view.instrument.borrowable is None:
        return passed(NAME, number(view.reached), "easy to borrow")
    return within(NAME, order.symbol, "would be {} short", view.reached, view.instrument.borrowable)


def _refused(order: OrderProposal, view: View, limit: str) -> Refusal:
    found = number(view.reached)
    return Refusal(NAME, found, limit, f"{NAME}: {order.symbol} would be {found} short, limit {limit}")
