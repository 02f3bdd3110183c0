"""An order that opens is worth at least so much: by the instrument's rule and the portfolio's."""

from operators.money import multiply
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, amount, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "min_order_notional"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    assert view.instrument is not None
    least = max(view.instrument.min_notional, limits.min_order_notional)
    notional = multiply(order.quantity, view.unit)
    if notional >= least or not view.opens:
        return passed(NAME, amount(notional), amount(least))
    message = f"{NAME}: {order.symbol} order is worth {amount(notional)}, at least {amount(least)}"
    return Refusal(NAME, amount(notional), amount(least), message)
