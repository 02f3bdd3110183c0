"""Translate an order's terms into Alpaca's terms, and determine what the gateway has to emulate.

Source: Alpaca's "Orders at Alpaca" (order types, times in force, minimum price increments, extended hours, crypto) and
its rule that an order may not close a position and open the opposite one. An order that Alpaca takes in no form is
rejected here, before it is sent, with the rule as the reason.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.settings import GatewaySettings
from operators.instruments import CRYPTO, Instrument
from operators.money import ONE, divide, multiply, round_to
from schemas.records import (
    DAY,
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    POST,
    PRE,
    STOP_LIMIT,
    OrderType,
    SessionPhase,
    TimeInForce,
)

_BPS = Decimal(10_000)
_EXTENDED_SESSIONS = (PRE, POST)
_CENT, _SUB_DOLLAR_INCREMENT = Decimal("0.01"), Decimal("0.0001")

STOP_EMULATED = "the gateway triggers the stop"
GTD_EMULATED = "the gateway cancels the order at its good-till date"
DAY_EMULATED = "the gateway cancels the order at the end of the day"
LIMIT_EMULATED = "sent as a limit order outside regular hours"
SPLIT_EMULATED = "sent as two orders, one to close and one to open"
REDUCE_EMULATED = "the gateway limits the quantity to the position (reduce-only)"
OCO_EMULATED = "the gateway cancels the other orders of the OCO group"
OTO_EMULATED = "the gateway sends the order when its parent is filled"
HELD_STOP_EMULATED = "the gateway triggers the stop while another order of its group works at the broker"
PASSED_STOP_EMULATED = "sent without its stop, because the broker reports that the market has passed it"
PARTIAL_STOP_EMULATED = "the gateway triggers the stop while the partly filled entry works"
FRACTION_EMULATED = (
    "sent as a day order, and again after each day, because the broker accepts fractions as day orders only"
)
AMEND_EMULATED = "amended by cancel and new order"


class BrokerTerms(NamedTuple):
    """The terms of one order at the broker, except symbol, side and quantity."""

    order_type: OrderType
    limit_price: Decimal | None
    stop_price: Decimal | None
    trail_amount: Decimal | None
    trail_percent: Decimal | None
    time_in_force: TimeInForce
    extended_hours: bool


def is_crypto(instrument: Instrument | None) -> bool:
    return instrument is not None and instrument.asset_class == CRYPTO


def needs_stop_watch(order: GatewayOrder, instrument: Instrument | None, settings: GatewaySettings) -> bool:
    """Whether the gateway must trigger the stop: the broker's stops work in regular hours only, not for crypto, and for
    fractions until the end of the day only.
    """
    if not order.has_stop or order.stop_triggered:
        return False
    quantity, time_in_force = order.terms.quantity, order.terms.time_in_force
    is_lasting_fraction = quantity != whole_units(quantity) and time_in_force in (GTC, GTD)
    return settings.extended_hours or is_crypto(instrument) or is_lasting_fraction


def to_broker_terms(
    order: GatewayOrder,
    instrument: Instrument | None,
    settings: GatewaySettings,
    session: SessionPhase,
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
    reason = rejection_reason(order, instrument)
    if reason is not None:
        return reason
    if time_in_force == GTD:
        order.note_emulation(GTD_EMULATED)
        time_in_force = GTC
    if is_crypto(instrument) and time_in_force == DAY:
        order.note_emulation(DAY_EMULATED)
        time_in_force = GTC
    if time_in_force == GTC and _is_share_fraction(order, instrument):
        order.note_emulation(FRACTION_EMULATED)
        time_in_force = DAY
    outside_hours = settings.extended_hours and session in _EXTENDED_SESSIONS and not is_crypto(instrument)
    if outside_hours and order_type == MARKET and time_in_force in (DAY, GTC):
        if last_price is None:
            return f"no last price of {terms.symbol} to derive a limit price outside regular hours"
        order.note_emulation(LIMIT_EMULATED)
        limit = _collared_limit(last_price, order.buying, settings)
        order_type, time_in_force = LIMIT, DAY
    extended = settings.extended_hours and order_type == LIMIT and time_in_force == DAY and not is_crypto(instrument)
    return BrokerTerms(
        order_type=order_type,
        limit_price=limit,
        stop_price=stop,
        trail_amount=trail_amount,
        trail_percent=trail_percent,
        time_in_force=time_in_force,
        extended_hours=extended,
    )


def is_passed_stop(text: str) -> bool:
    """Whether a rejection says that the market has already passed the order's stop.

    Alpaca takes a stop only on its own side of the market, also as the stop loss of an OCO order.
    """
    return text.startswith(("stop price must be", "stop_loss.stop_price must be"))


def rejection_reason(order: GatewayOrder, instrument: Instrument | None) -> str | None:
    """Return why the broker takes the order in no form, or None."""
    terms = order.terms
    time_in_force = terms.time_in_force
    if is_crypto(instrument) and time_in_force not in (DAY, GTC, GTD, IOC):
        kind = "all or nothing" if time_in_force == FOK else "an auction"
        return f"the broker has no {time_in_force} orders ({kind}) for crypto; use DAY, GTC, GTD or IOC"
    if is_crypto(instrument):
        return None
    if time_in_force not in (DAY, GTC, GTD) and _is_share_fraction(order, instrument):
        found = f"{order.remaining.normalize():f} with {time_in_force}"
        return f"the broker takes fractions of a share in DAY orders only, found {found}"
    for name, price in (("limit_price", terms.limit_price), ("stop_price", terms.stop_price)):
        if price is not None and price != round_to(price, minimum_increment(price)):
            return f"the broker takes prices in steps of {minimum_increment(price)}, found {name} {price.normalize():f}"
    return None


def _is_share_fraction(order: GatewayOrder, instrument: Instrument | None) -> bool:
    return order.remaining != whole_units(order.remaining) and not is_crypto(instrument)


def minimum_increment(price: Decimal) -> Decimal:
    """Return the minimum price increment of a share, in USD: 0.01 from 1 USD on, 0.0001 below (Regulation NMS, 612)."""
    return _CENT if price >= ONE else _SUB_DOLLAR_INCREMENT


def _collared_limit(last_price: Decimal, buying: bool, settings: GatewaySettings) -> Decimal:
    offset = divide(settings.collar_bps, _BPS)
    price = multiply(last_price, ONE + offset if buying else ONE - offset)
    return round_to(price, minimum_increment(price))


def whole_units(quantity: Decimal) -> Decimal:
    """Round towards zero to whole units."""
    return quantity.to_integral_value(ROUND_DOWN)
