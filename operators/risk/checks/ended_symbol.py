"""Reject an order under the name of a symbol that was renamed, merged or delisted, and name the present symbol.

The name counts again as soon as another company trades under it.
"""

from operators.ended_symbols import describe_end
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import OrderTerms

NAME = "ended_symbol"
_PASSED = passed(NAME, "present", "present")


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    end = context.book.ended_symbols.find(order.symbol)
    if end is None:
        return _PASSED
    sentence = describe_end(order.symbol, end)
    advice = f"; order {end.new_symbol}" if end.new_symbol else ""
    return Refusal(NAME, order.symbol, end.new_symbol or "a listed symbol", f"{NAME}: {sentence}{advice}")
