"""Require that the session of the symbol's last bar is one in which the instrument accepts orders.

On-open and on-close orders trade in the regular session whenever they arrive, so only this session counts for them.
"""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import CLS, CONTINUOUS, OPG, REGULAR, OrderTerms

NAME = "session_open"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    session, allowed = context.book.last_bars[order.symbol].session, context.instrument.sessions
    limit = " or ".join(allowed)
    if order.time_in_force in (OPG, CLS) and session != CONTINUOUS:
        session = REGULAR
    if session in allowed:
        return passed(NAME, session, limit)
    return Refusal(NAME, session, limit, f"{NAME}: {order.symbol} session is {session}, must be {limit}")
