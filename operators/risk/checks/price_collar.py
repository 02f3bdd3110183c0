"""Reject a price that is too aggressive for the market (fat-finger check), and a stop that would trigger at once.

A buy limit must not be too far above the last price, and a sell limit not too far below it. Resting limits and exits
pass. The exits of an entry that is still open are compared with the entry, because they start after it.
"""

from operators.risk.order_context import OrderContext
from operators.risk.order_rules import PRICE_COLLAR, check_collar, check_exits
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, passed
from schemas.records import OrderTerms


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.last_price is not None
    entry = context.entry
    if entry is not None and entry.side != order.side:
        return check_exits(entry, [order], context.last_price) or passed(PRICE_COLLAR, "waits for its entry", "any")
    return check_collar(order, context.last_price, limits.price_collar_bps, context.old_terms)
