"""The order says what it wants: a side, a positive quantity, a price exactly where the type needs one."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from operators.risk.view import View
from schemas.records import BUY, DAY, GTC, LIMIT, MARKET, SELL, OrderProposal

NAME = "order_terms"
SIDES, ORDER_TYPES, TIMES_IN_FORCE = (BUY, SELL), (MARKET, LIMIT), (DAY, GTC)


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    for field, allowed in (("side", SIDES), ("order_type", ORDER_TYPES), ("time_in_force", TIMES_IN_FORCE)):
        found = getattr(order, field)
        if found not in allowed:
            return _refused(order, field, repr(found), " or ".join(allowed))
    if not (order.quantity.is_finite() and order.quantity > 0):
        return _refused(order, "quantity", str(order.quantity), "above 0")
    price = order.limit_price
    if order.order_type == MARKET and price is not None:
        return _refused(order, "limit_price", str(price), "none on a market order")
    if order.order_type == LIMIT and not (price is not None and price.is_finite() and price > 0):
        return _refused(order, "limit_price", str(price), "above 0 on a limit order")
    return passed(NAME, f"{order.order_type} {order.time_in_force}", "known terms")


def _refused(order: OrderProposal, field: str, found: str, limit: str) -> Verdict:
    return Refusal(NAME, found, limit, f"{NAME}: {order.symbol} {field} is {found}, must be {limit}")
