"""Limit the beta-weighted value of all positions, with the open orders of the same direction filled."""

from decimal import Decimal

from operators.money import ZERO, multiply
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, check_limit, passed, refuse_unpriced
from schemas.records import BUY, OrderTerms

NAME = "max_beta_exposure"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    if context.unpriced_symbol is not None:
        return refuse_unpriced(NAME, context.unpriced_symbol)
    beta_value = _beta_value(context, order.symbol)
    if beta_value is None:
        return _unknown(order.symbol)
    order_exposure = multiply(beta_value, order.quantity if order.side == BUY else -order.quantity)
    direction = 1 if order_exposure > 0 else -1
    exposure = direction * order_exposure
    for symbol, position in context.book.positions.items():
        beta_value = _beta_value(context, symbol)
        if beta_value is None:
            return _unknown(symbol)
        exposure += direction * multiply(beta_value, position.quantity)
        if position.orders:
            buys, sells = multiply(beta_value, position.buys.quantity), multiply(beta_value, -position.sells.quantity)
            exposure += max(ZERO, direction * buys, direction * sells)
    if exposure <= 0:
        return passed(NAME, "reduces", "any")
    template = f"order would raise beta exposure to {{}} {limits.account_currency}"
    return check_limit(NAME, order.symbol, template, exposure, limits.max_beta_exposure, money=True)


def _beta_value(context: OrderContext, symbol: str) -> Decimal | None:
    """Return beta x money per unit, or None if the beta or the price is unknown."""
    instrument, price = context.limits.instruments.get(symbol), context.book.price(symbol)
    if instrument is None or instrument.beta is None or price is None:
        return None
    return multiply(instrument.beta, instrument.notional(Decimal(1), price))


def _unknown(symbol: str) -> Refusal:
    return Refusal(NAME, "unknown", "known", f"{NAME}: {symbol} has no beta. Set beta in its instrument definition")
