"""While trading is halted no new order goes out; what reduces is refused too. Cancels do not come through here."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import ACTIVE, OrderProposal

NAME = "kill_switch"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    state = context.book.state
    if state == ACTIVE:
        return passed(NAME, state, ACTIVE)
    message = f"{NAME}: trading is {state.lower()} since risk epoch {context.book.epoch}, {order.symbol} is refused"
    return Refusal(NAME, state, ACTIVE, message)
