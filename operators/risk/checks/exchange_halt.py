"""Reject an order in a symbol whose trading the exchange has halted, also one that reduces a position.

Open orders stay, and can be cancelled.
"""

from operators.exchange_halts import EXCHANGE_HALT
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import HALTED, TRADING, OrderTerms

NAME = EXCHANGE_HALT
_PASSED = passed(NAME, TRADING, TRADING)


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    halt = context.breakers.exchange_halts.current(order.symbol)
    if halt is None:
        return _PASSED
    return Refusal(NAME, HALTED, TRADING, f"{NAME}: the exchange has halted trading in {order.symbol}: {halt.text}")
