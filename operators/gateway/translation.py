"""From an order's terms to what Alpaca takes, and what the gateway does itself because Alpaca does not.

Source: Alpaca's "Orders at Alpaca" (order types, times in force, extended hours, crypto) and its rule that an order may
not close a position and open the opposite one.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.settings import GatewaySettings
from operators.instruments import CRYPTO, Instrument
from operators.money import ONE, divide, multiply, round_to
from schemas.records import DAY, GTC, GTD, LIMIT, MARKET, POST, PRE, STOP_LIMIT

_BPS = Decimal(10_000)
_EXTENDED_SESSIONS = (PRE, POST)

STOP_EMULATED = "the gateway watches the stop"
GTD_EMULATED = "the gateway cancels it when its time is over"
DAY_EMULATED = "the gateway cancels it at the end of the day"
LIMIT_EMULATED = "outside regular hours a market order is a limit order beyond the last price"
SPLIT_EMULATED = "closing and opening are two orders at the broker"
REDUCE_EMULATED = "the gateway cuts it to what it may close"
OCO_EMULATED = "the gateway cancels the others of its group"
OTO_EMULATED = "the gateway sends it when its parent is filled"
AMEND_EMULATED = "amended by a cancel and a new order"


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


def needs_stop_watch(order: GatewayOrder, instrument: Instrument | None, settings: GatewaySettings) -> bool:
    """Whether the order's stop is watched here: the broker's works in regular hours only, and not for crypto."""
    return order.has_stop and not order.stop_triggered and (settings.extended_hours or is_crypto(instrument))


def to_broker_terms(
    order: GatewayOrder,
    instrument: Instrument | None,
    settings: GatewaySettings,
    session: str,
    last_price: Decimal | None,
) -> BrokerTerms | str:
    """The terms to send now, noting on the order what they leave to the gateway; a text where it cannot be sent."""
    terms = order.terms
    order_type, limit, time_in_force = terms.order_type, terms.limit_price, terms.time_in_force
    stop, trail_amount, trail_percent = terms.stop_price, terms.trail_amount, terms.trail_percent
    if order.stop_triggered:
        order_type, stop, trail_amount, trail_percent = (
            (LIMIT if order_type == STOP_LIMIT else MARKET),
            None,
            None,
            None,
        )
    if time_in_force == GTD:
        order.note_emulation(GTD_EMULATED)
        time_in_force = GTC
    if is_crypto(instrument) and time_in_force == DAY:
        order.note_emulation(DAY_EMULATED)
        time_in_force = GTC
    outside_hours = settings.extended_hours and session in _EXTENDED_SESSIONS and not is_crypto(instrument)
    if outside_hours and order_type == MARKET and time_in_force in (DAY, GTC):
        if last_price is None:
            return f"no price of {terms.symbol} is known to set a limit by outside regular hours"
        order.note_emulation(LIMIT_EMULATED)
        limit = _collared_limit(last_price, order.buying, instrument, settings)
        order_type, time_in_force = LIMIT, DAY
    extended = settings.extended_hours and order_type == LIMIT and time_in_force == DAY and not is_crypto(instrument)
    return BrokerTerms(order_type, limit, stop, trail_amount, trail_percent, time_in_force, extended)


def _collared_limit(
    last_price: Decimal, buying: bool, instrument: Instrument | None, settings: GatewaySettings
) -> Decimal:
    offset = divide(settings.collar_bps, _BPS)
    price = multiply(last_price, ONE + offset if buying else ONE - offset)
    return round_to(price, Decimal("0.01") if price >= ONE else Decimal("0.0001")) if instrument else price


def whole_units(quantity: Decimal) -> Decimal:
    """The whole units of it."""
    return quantity.to_integral_value(ROUND_DOWN)
