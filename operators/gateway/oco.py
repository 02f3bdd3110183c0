"""Take profit and stop loss as one OCO order at the broker, so that the stop works while the platform is down.

Alpaca's OCO order is a limit order (the take profit) with an attached stop order. Both hold the same units. A fill of
one reduces or cancels the other at the broker, and a cancel of one cancels both. Source: Alpaca, "Orders at Alpaca",
bracket and OCO orders: whole shares, day or good till cancelled, no extended hours, no trailing stop, no crypto.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.settings import GatewaySettings
from operators.gateway.translation import is_crypto, rejection_reason, whole_units
from operators.instruments import Instrument
from schemas.records import DAY, GTC, GTD, LIMIT, STOP, STOP_LIMIT

_TIMES_IN_FORCE = {DAY: DAY, GTC: GTC, GTD: GTC}


class OcoPair(NamedTuple):
    """The two exits of one position."""

    take_profit: GatewayOrder
    stop: GatewayOrder


def is_ready(order: GatewayOrder) -> bool:
    """Whether an order may be sent now, apart from its quantity."""
    return order.leg is None and not (
        order.waits_for_parent or order.waits_for_order or order.stop_watched or order.end_reason
    )


def oco_pair(
    order: GatewayOrder, orders: Iterable[GatewayOrder], instrument: Instrument | None, settings: GatewaySettings
) -> OcoPair | None:
    """Return the OCO order that `order` forms with the other order of its group; None if the broker accepts none."""
    group_id = order.terms.group_id
    if not group_id or settings.extended_hours or is_crypto(instrument):
        return None
    members = [one for one in orders if one.terms.group_id == group_id]
    if len(members) != 2 or not all(is_ready(one) for one in members):
        return None
    first, second = members
    pair = OcoPair(first, second) if first.terms.order_type == LIMIT else OcoPair(second, first)
    is_rejected = any(rejection_reason(one, instrument) is not None for one in members)
    return pair if _is_accepted(*pair) and not is_rejected else None


def _is_accepted(take_profit: GatewayOrder, stop: GatewayOrder) -> bool:
    limit_terms, stop_terms = take_profit.terms, stop.terms
    if limit_terms.order_type != LIMIT or stop_terms.order_type not in (STOP, STOP_LIMIT) or stop.stop_triggered:
        return False
    assert limit_terms.limit_price is not None and stop_terms.stop_price is not None, "risk approved both prices"
    is_between = (
        limit_terms.limit_price < stop_terms.stop_price
        if take_profit.buying
        else (limit_terms.limit_price > stop_terms.stop_price)
    )
    time_in_force = _TIMES_IN_FORCE.get(limit_terms.time_in_force)
    return (
        (limit_terms.symbol, limit_terms.side) == (stop_terms.symbol, stop_terms.side)
        and take_profit.remaining == stop.remaining == whole_units(stop.remaining)
        and time_in_force is not None
        and time_in_force == _TIMES_IN_FORCE.get(stop_terms.time_in_force)
        and is_between
    )
