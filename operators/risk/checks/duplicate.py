"""The same order (symbol, side, quantity, limit) was not approved a moment ago."""

from decimal import Decimal

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "duplicate"
_SECOND = Decimal(1_000_000_000)


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    window = number(limits.duplicate_window_s)
    since = view.ts_ns - int(limits.duplicate_window_s * _SECOND)
    for sent in reversed(view.history.recent(view.ts_ns)):
        if sent.ts_ns <= since:
            break
        if sent[1:] == (order.symbol, order.side, order.quantity, order.limit_price):
            found = number((view.ts_ns - sent.ts_ns) / _SECOND)
            message = f"{NAME}: {order.symbol} the same order was approved {found} s ago, limit {window}"
            return Refusal(NAME, found, window, message)
    return passed(NAME, "none", window)
