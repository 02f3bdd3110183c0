"""The symbol's last bar was of a session in which its instrument may be ordered."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "session_open"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    assert view.instrument is not None
    found, allowed = view.book.last[order.symbol].session, view.instrument.sessions
    limit = " or ".join(allowed)
    if found in allowed:
        return passed(NAME, found, limit)
    return Refusal(NAME, found, limit, f"{NAME}: {order.symbol} is in session {found}, limit {limit}")
