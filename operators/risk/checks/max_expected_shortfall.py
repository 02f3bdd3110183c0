"""Limit the one-day expected shortfall of all positions with this order filled.

Historical: apply the returns of each recorded day to the current positions, and take the mean loss of the worst
(1 - confidence) of the days, rounded up to a whole day. Parametric: assume normal results with the same mean and
standard deviation, ES = sigma * phi(z) / (1 - c) - mu. Source: Acerbi and Tasche, "On the coherence of expected
shortfall" (2002).
"""

import math
from decimal import Decimal
from statistics import NormalDist, fmean, pstdev

from operators.money import to_decimal
from operators.risk.order_context import OrderContext
from operators.risk.settings import PARAMETRIC, RiskSettings
from operators.risk.verdict import Refusal, Verdict, check_limit, passed, refuse_unpriced
from schemas.records import BUY, OrderTerms

NAME = "max_expected_shortfall"
DAYS_MIN = 20


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    limit = limits.max_expected_shortfall
    if context.unpriced_symbol is not None:
        return refuse_unpriced(NAME, context.unpriced_symbol)
    if limit is None or isinstance(limit, str):  # UNLIMITED
        return check_limit(NAME, order.symbol, "", Decimal(0), limit, money=True)
    value_of = {
        symbol: position.quantity_factor * context.book.last_bars[symbol].close
        for symbol, position in context.book.positions.items()
        if position.quantity
    }
    before = _shortfall(value_of, context, limits)
    signed_value = float(context.last_value(order.quantity)) * (1 if order.side == BUY else -1)
    value_of[order.symbol] = value_of.get(order.symbol, 0.0) + signed_value
    lacking = next((symbol for symbol in value_of if len(context.history.closes.get(symbol, ())) <= DAYS_MIN), None)
    if lacking is not None:
        days = max(0, len(context.history.closes.get(lacking, ())) - 1)
        message = f"{NAME}: {lacking} has {days} days of recorded returns, minimum {DAYS_MIN}"
        return Refusal(NAME, str(days), str(DAYS_MIN), message)
    after = _shortfall(value_of, context, limits)
    if after <= before:
        return passed(NAME, "reduces", "any")
    shortfall = to_decimal(round(after, 2))
    template = f"order would raise expected shortfall to {{}} {limits.account_currency}"
    return check_limit(NAME, order.symbol, template, shortfall, limit, money=True)


def _shortfall(value_of: dict[str, float], context: OrderContext, limits: RiskSettings) -> float:
    """Return the one-day expected shortfall in money over the days recorded for all symbols; 0 if no day loses."""
    closes = [context.history.closes.get(symbol, []) for symbol in value_of]
    days = min((len(one) for one in closes), default=0) - 1
    if days < 1:
        return 0.0
    outcomes = [0.0] * days
    for position_value, series in zip(value_of.values(), closes, strict=True):
        recent = series[-days - 1 :]
        for day in range(days):
            outcomes[day] += position_value * (recent[day + 1] / recent[day] - 1.0)
    return max(0.0, expected_shortfall(outcomes, limits))


def expected_shortfall(outcomes: list[float], limits: RiskSettings) -> float:
    """Return the expected shortfall of daily results in money (losses negative). A positive value is a loss."""
    tail = 1.0 - float(limits.shortfall_confidence)
    if limits.shortfall_method == PARAMETRIC:
        normal = NormalDist()
        return pstdev(outcomes) * normal.pdf(normal.inv_cdf(tail)) / tail - fmean(outcomes)
    # Without the margin, 0.025 x 40 = 1.0000000000000009 would round up to two days.
    worst = sorted(outcomes)[: max(1, math.ceil(tail * len(outcomes) - 1e-9))]
    return -fmean(worst)
