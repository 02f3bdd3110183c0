"""Reject an order while a circuit breaker of its strategy, its symbol or the portfolio blocks it.

HALTED blocks every order. REDUCING blocks orders that open or increase a position.
"""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number_text, passed
from schemas.records import ACTIVE, HALTED, PORTFOLIO, STRATEGY, SYMBOL, BreakerScope, OrderTerms

NAME = "circuit_breaker"
_PASSED = passed(NAME, ACTIVE, ACTIVE)


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    if not context.breakers.is_tripped:
        return _PASSED
    scopes: tuple[tuple[BreakerScope, str], ...] = (
        (PORTFOLIO, ""),
        *((STRATEGY, name) for name in context.strategy.split("+")),
        (SYMBOL, order.symbol),
    )
    for scope, key in scopes:
        state = context.breakers.state(scope, key)
        if state == HALTED or (state != ACTIVE and context.opening_quantity):
            where = f"{scope.lower()} {key}".strip()
            if state == HALTED:
                message = f"{NAME}: {order.symbol} orders are not allowed while the {where} is {state}"
            else:
                opening = number_text(context.opening_quantity)
                message = (
                    f"{NAME}: {order.symbol} order would open {opening} units while the {where} is {state}, limit 0"
                )
            return Refusal(NAME, state, ACTIVE, message)
    return _PASSED
