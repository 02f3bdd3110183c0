"""The order says what it wants: a side, a positive quantity, a price exactly where the type needs one."""

from decimal import Decimal

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from operators.risk.view import View
from schemas.records import (
    BUY,
    CLS,
    DAY,
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    OPG,
    SELL,
    STOP,
    STOP_LIMIT,
    TRAILING_STOP,
    OrderProposal,
)

NAME = "order_terms"
SIDES = (BUY, SELL)
NEEDS = {MARKET: (), LIMIT: ("limit_price",), STOP: ("stop_price",), STOP_LIMIT: ("limit_price", "stop_price")}
ORDER_TYPES = (*NEEDS, TRAILING_STOP)
TIMES_IN_FORCE = (DAY, GTC, GTD, IOC, FOK, OPG, CLS)
_PRICES = ("limit_price", "stop_price", "trail_amount", "trail_percent")
_TRAILS = ("trail_amount", "trail_percent")


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    if order.side not in SIDES:
        return _refused(order, "side", repr(order.side), " or ".join(SIDES))
    if order.order_type not in ORDER_TYPES:
        return _refused(order, "order_type", repr(order.order_type), " or ".join(ORDER_TYPES))
    if order.time_in_force not in TIMES_IN_FORCE:
        return _refused(order, "time_in_force", repr(order.time_in_force), " or ".join(TIMES_IN_FORCE))
    if not (order.quantity.is_finite() and order.quantity > 0):
        return _refused(order, "quantity", str(order.quantity), "above 0")
    return _prices(order) or _times(order) or passed(NAME, f"{order.order_type} {order.time_in_force}", "known terms")


def _prices(order: OrderProposal) -> Refusal | None:
    kind = order.order_type
    if kind == TRAILING_STOP:
        if (order.trail_amount is None) is (order.trail_percent is None):
            return _refused(order, "trail", "both or none", "an amount or a percent")
        needed: tuple[str, ...] = tuple(name for name in _TRAILS if getattr(order, name) is not None)
    else:
        needed = NEEDS[kind]
    words = f"a {kind.lower().replace('_', '-')} order"
    for name in _PRICES:
        value: Decimal | None = getattr(order, name)
        if name not in needed:
            if value is not None:
                return _refused(order, name, str(value), f"none on {words}")
        elif value is None or not (value.is_finite() and value > 0):
            return _refused(order, name, str(value), f"above 0 on {words}")
    if order.trail_percent is not None and order.trail_percent >= 100:
        return _refused(order, "trail_percent", str(order.trail_percent), "below 100")
    return None


def _times(order: OrderProposal) -> Refusal | None:
    if (order.time_in_force == GTD) is (order.expires_ns is None):
        return _refused(order, "expires_ns", str(order.expires_ns), "given with GTD and only with it")
    if order.time_in_force in (IOC, FOK, OPG, CLS) and order.order_type not in (MARKET, LIMIT):
        return _refused(order, "time_in_force", order.time_in_force, f"DAY, GTC or GTD on {order.order_type}")
    return None


def _refused(order: OrderProposal, field: str, found: str, limit: str) -> Refusal:
    return Refusal(NAME, found, limit, f"{NAME}: {order.symbol} {field} is {found}, must be {limit}")
