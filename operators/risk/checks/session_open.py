"""The symbol's last bar was of a session in which its instrument may be ordered."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import OrderProposal

NAME = "session_open"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    session, allowed = context.book.last_bars[order.symbol].session, context.instrument.sessions
    limit = " or ".join(allowed)
    if session in allowed:
        return passed(NAME, session, limit)
    return Refusal(NAME, session, limit, f"{NAME}: {order.symbol} is in session {session}, limit {limit}")
