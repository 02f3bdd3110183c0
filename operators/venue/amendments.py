"""Which amendments have no effect any more. The simulated venue and the gateway reject them by the same rule."""

from __future__ import annotations

from schemas.records import STOP_LIMIT, OrderTerms

_STOP_FIELDS = ("stop_price", "trail_amount", "trail_percent")


def spent_stop_reason(order_id: str, old: OrderTerms, new: OrderTerms) -> str:
    """Return why an amendment of an order whose stop has triggered is rejected; "" if it keeps the stop.

    >>> old = OrderTerms("X", "BUY", 10, "STOP_LIMIT", "GTC", limit_price=101, stop_price=100)
    >>> spent_stop_reason("ord-1", old, old._replace(stop_price=102))
    'the stop of ord-1 has triggered, so a new stop_price has no effect; amend quantity or limit_price, or cancel it'
    """
    changed = [name for name in _STOP_FIELDS if getattr(old, name) != getattr(new, name)]
    if not changed:
        return ""
    amendable = "quantity or limit_price" if old.order_type == STOP_LIMIT else "quantity"
    names = " and ".join(changed)
    return f"the stop of {order_id} has triggered, so a new {names} has no effect; amend {amendable}, or cancel it"
