"""Translate an order's terms into Alpaca's terms, and determine what the gateway has to emulate.

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

STOP_EMULATED = "the gateway triggers the stop"
GTD_EMULATED = "the gateway cancels the order at its good-till date"
DAY_EMULATED = "the gateway cancels the order at the end of the day"
LIMIT_EMULATED = "sent as a limit order outside regular hours"
SPLIT_EMULATED = "sent as two orders, one to close and one to open"
REDUCE_EMULATED = "the gateway limits the quantity to the position (reduce-only)"
OCO_EMULATED = "the gateway cancels the other orders of the OCO group"
OTO_EMULATED = "the gateway sends the order when its parent is filled"
AMEND_EMULATED = "amended by cancel and new order"


class BrokerTerms(NamedTuple):
    """The terms of one order at the broker, except symbol, side and quantity."""

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
    """Whether the gateway must trigger the stop: the broker's stops work in regular hours only, and not for crypto."""
    return order.has_stop and not order.stop_triggered and (settings.extended_hours or is_crypto(instrument))


def to_broker_terms(
    order: GatewayOrder,
    instrument: Instrument | None,
    settings: GatewaySettings,
    session: str,
    last_price: Decimal | None,
) -> BrokerTerms | str:
    """Return the terms to send now, or a text that explains why the order cannot be sent.

    Adds the features that the gateway emulates to the order's emulations.
    """
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
            return f"no last price of {terms.symbol} to derive a limit price outside regular hours"
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
    """Round towards zero to whole units."""
    return quantity.to_integral_value(ROUND_DOWN)
