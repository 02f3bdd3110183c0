"""The value of all positions x beta is at most so much, with all open orders filled that push the same way."""

from decimal import Decimal

from operators.money import ZERO, multiply
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed, price_unknown, within
from operators.risk.view import View
from schemas.records import BUY, OrderProposal

NAME = "max_beta_exposure"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    if view.unpriced is not None:
        return price_unknown(NAME, view.unpriced)
    unit = _beta_value(view, order.symbol)
    if unit is None:
        return _unknown(order.symbol)
    push = multiply(unit, order.quantity if order.side == BUY else -order.quantity)
    direction = 1 if push > 0 else -1
    toward = direction * push
    for symbol, holding in view.book.holdings.items():
        unit = _beta_value(view, symbol)
        if unit is None:
            return _unknown(symbol)
        toward += direction * multiply(unit, holding.quantity)
        if holding.orders:
            buys, sells = multiply(unit, holding.buys.quantity), multiply(unit, -holding.sells.quantity)
            toward += max(ZERO, direction * buys, direction * sells)
    if toward <= 0:
        return passed(NAME, "reduces", "any")
    what = "order would bring beta exposure to {}"
    return within(NAME, order.symbol, what, toward, limits.max_beta_exposure, money=True)


def _beta_value(view: View, symbol: str) -> Decimal | None:
    """Beta x money per unit, or None where one of them is not known."""
    one, price = view.limits.instruments.get(symbol), view.book.price(symbol)
    if one is None or one.beta is None or price is None:
        return None
    return multiply(one.beta, one.notional(Decimal(1), price))


def _unknown(symbol: str) -> Refusal:
    return Refusal(NAME, "unknown", "known", f"{NAME}: the beta of {symbol} is not known")
