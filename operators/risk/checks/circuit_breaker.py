"""The breakers of the order's strategy and symbol, and of the portfolio, let it through."""

from operators.risk.breakers import PORTFOLIO, STRATEGY, SYMBOL
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import ACTIVE, HALTED, OrderProposal

NAME = "circuit_breaker"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    for scope, key in ((PORTFOLIO, ""), (STRATEGY, order.strategy), (SYMBOL, order.symbol)):
        state = context.breakers.state(scope, key)
        if state == HALTED or (state != ACTIVE and context.opening_quantity):
            where = f"{scope.lower()} {key}".strip()
            message = f"{NAME}: the {where} is {state.lower()}, {order.symbol} is refused"
            return Refusal(NAME, state, ACTIVE, message)
    return passed(NAME, ACTIVE, ACTIVE)
