"""From an order's terms to what Alpaca takes, and what the gateway does itself because Alpaca does not.

Source: Alpaca's "Orders at Alpaca" (order types, times in force, extended hours, crypto) and its rule that an order may
not close a position and open the opposite one.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from operators.gateway.settings import GatewaySettings
from operators.gateway.working import WorkingOrder
from operators.instruments import CRYPTO, Instrument
from operators.money import ONE, divide, multiply, round_to
from schemas.records import DAY, GTC, GTD, LIMIT, MARKET, POST, PRE, STOP_LIMIT

_BPS = Decimal(10_000)
_OUTSIDE = (PRE, POST)

STOP_HERE = "the gateway watches the stop"
GTD_HERE = "the gateway cancels it when its time is over"
DAY_HERE = "the gateway cancels it at the end of the day"
LIMIT_HERE = "outside regular hours a market order is a limit order beyond the last price"
SPLIT_HERE = "closing and opening are two orders at the broker"
REDUCE_HERE = "the gateway cuts it to what it may close"
OCO_HERE = "the gateway cancels the others of its group"
OTO_HERE = "the gateway sends it when its parent is filled"
AMEND_HERE = "amended by a cancel and a new order"


class BrokerTerms(NamedTuple):
    """What one order at the broker says beside symbol, side and quantity."""

    order_type: str
    limit_price: Decimal | None
    stop_price: Decimal | None
    trail_amount: Decimal | None
    trail_percent: Decimal | None
    time_in_force: str
    extended_hours: bool


def is_crypto(instrument: Instrument | None) -> bool:
    return instrument is not None and instrument.asset_class == CRYPTO


def watches_stop(order: WorkingOrder, instrument: Instrument | None, settings: GatewaySettings) -> bool:
    """Whether the order's stop is watched here: the broker's works in regular hours only, and not for crypto."""
    return order.has_stop and not order.triggered and (settings.extended_hours or is_crypto(instrument))


def translate(
    order: WorkingOrder,
    instrument: Instrument | None,
    settings: GatewaySettings,
    session: str,
    last: Decimal | None,
) -> BrokerTerms | str:
    """The terms to send now, noting on the order what they leave to the gateway; a text where it cannot be sent."""
    terms = order.terms
    kind, limit, force = terms.order_type, terms.limit_price, terms.time_in_force
    stop, amount, percent = terms.stop_price, terms.trail_amount, terms.trail_percent
    if order.triggered:
        kind, stop, amount, percent = (LIMIT if kind == STOP_LIMIT else MARKET), None, None, None
    if force == GTD:
        order.note(GTD_HERE)
        force = GTC
    if is_crypto(instrument) and force == DAY:
        order.note(DAY_HERE)
        force = GTC
    outside = settings.extended_hours and session in _OUTSIDE and not is_crypto(instrument)
    if outside and kind == MARKET and force in (DAY, GTC):
        if last is None:
            return f"no price of {terms.symbol} is known to set a limit by outside regular hours"
        order.note(LIMIT_HERE)
        limit = _beyond(last, order.buying, instrument, settings)
        kind, force = LIMIT, DAY
    extended = settings.extended_hours and kind == LIMIT and force == DAY and not is_crypto(instrument)
    return BrokerTerms(kind, limit, stop, amount, percent, force, extended)


def _beyond(last: Decimal, buying: bool, instrument: Instrument | None, settings: GatewaySettings) -> Decimal:
    part = divide(settings.collar_bps, _BPS)
    price = multiply(last, ONE + part if buying else ONE - part)
    return round_to(price, Decimal("0.01") if price >= ONE else Decimal("0.0001")) if instrument else price


def whole(quantity: Decimal) -> Decimal:
    """The whole units of it."""
    return quantity.to_integral_value(ROUND_DOWN)
