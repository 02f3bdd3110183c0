"""The breakers of the order's strategy and symbol, and of the portfolio, let it through."""

from operators.risk.breakers import PORTFOLIO, STRATEGY, SYMBOL
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from operators.risk.view import View
from schemas.records import ACTIVE, HALTED, OrderProposal

NAME = "circuit_breaker"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    for scope, key in ((PORTFOLIO, ""), (STRATEGY, order.strategy), (SYMBOL, order.symbol)):
        state = view.breakers.state(scope, key)
        if state == HALTED or (state != ACTIVE and view.opens):
            where = f"{scope.lower()} {key}".strip()
            message = f"{NAME}: the {where} is {state.lower()}, {order.symbol} is refused"
            return Refusal(NAME, state, ACTIVE, message)
    return passed(NAME, ACTIVE, ACTIVE)
