"""While trading is halted no new order goes out; what reduces is refused too. Cancels do not come through here."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from operators.risk.view import View
from schemas.records import ACTIVE, OrderProposal

NAME = "kill_switch"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    state = view.book.state
    if state == ACTIVE:
        return passed(NAME, state, ACTIVE)
    message = f"{NAME}: trading is {state.lower()} since risk epoch {view.book.epoch}, {order.symbol} is refused"
    return Refusal(NAME, state, ACTIVE, message)
