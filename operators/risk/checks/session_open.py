"""Require that the session of the symbol's last bar is one in which the instrument accepts orders."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import OrderTerms

NAME = "session_open"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    session, allowed = context.book.last_bars[order.symbol].session, context.instrument.sessions
    limit = " or ".join(allowed)
    if session in allowed:
        return passed(NAME, session, limit)
    return Refusal(NAME, session, limit, f"{NAME}: {order.symbol} session is {session}, must be {limit}")
