"""Decide when the next leg of an order goes to the broker and how large it is; send two exits as one OCO order."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from operators.gateway.gateway_order import GatewayOrder
from operators.gateway.leg import Leg
from operators.gateway.oco import is_ready, oco_pair
from operators.gateway.order_book import GatewayOrderBook
from operators.gateway.reports import GatewayReports
from operators.gateway.settings import GatewaySettings
from operators.gateway.translation import (
    HELD_STOP_EMULATED,
    OCO_EMULATED,
    SPLIT_EMULATED,
    BrokerTerms,
    is_crypto,
    to_broker_terms,
    whole_units,
)
from operators.money import ZERO
from operators.order_lifecycle import OrderEvent, OrderState, next_state
from operators.venue.matching import expiry_text
from operators.venue.reduce_only import NO_POSITION
from schemas.records import CANCELED, DAY, REGULAR, REJECTED, SUBMIT, SessionPhase

LegMarket = tuple[Decimal | None, SessionPhase, int]
"""Last price, session phase and trading day of a symbol."""
_NO_MARKET: LegMarket = (None, REGULAR, 0)  # of a symbol without a bar


class LegSender:
    """Sends the next legs of the orders in `book`. The stage updates `market`, the last `LegMarket` by symbol."""

    def __init__(
        self,
        settings: GatewaySettings,
        book: GatewayOrderBook,
        reports: GatewayReports,
        market: Mapping[str, LegMarket],
    ) -> None:
        self._settings, self._book, self._reports, self._market = settings, book, reports, market

    def cancel_expired(self, ts_ns: int) -> None:
        for order in list(self._book.orders.values()):
            terms = order.terms
            day = self._market.get(terms.symbol, _NO_MARKET)[2]
            order.first_day = order.first_day or day
            enforced_here = order.leg is None or is_crypto(self._settings.instruments.get(terms.symbol))
            if terms.expires_ns is not None and ts_ns >= terms.expires_ns:
                self._book.cancel(order.order_id, expiry_text(terms))
            elif enforced_here and terms.time_in_force == DAY and day > order.first_day:
                self._book.cancel(order.order_id, f"day order expired after trading day {order.first_day}")

    def send_ready_legs(self) -> None:
        """Send the next leg of every ready order. Repeat while a pass makes further orders ready."""
        while self._book.may_proceed:
            self._book.may_proceed = False
            for order in list(self._book.orders.values()):
                if order.order_id in self._book.orders and is_ready(order) and not self._send_oco(order):
                    self._send_leg(order)

    def _send_oco(self, order: GatewayOrder) -> bool:
        """Send an exit together with the other one of its group, if the broker takes both as one OCO order."""
        instrument = self._settings.instruments.get(order.terms.symbol)
        pair = oco_pair(order, self._book.orders.values(), instrument, self._settings)
        if pair is None:
            return False
        quantity = self._next_quantity(pair.take_profit)
        closes_all = quantity == pair.take_profit.remaining == self._next_quantity(pair.stop)
        if quantity is None or not closes_all or quantity > self._book.closable(order):
            return False
        for part in pair:
            part.drop_emulation(OCO_EMULATED)
            part.drop_emulation(HELD_STOP_EMULATED)
        last_price, session, _ = self._market.get(order.terms.symbol, _NO_MARKET)
        terms = to_broker_terms(pair.take_profit, instrument, self._settings, session, last_price)
        assert isinstance(terms, BrokerTerms), f"{pair.take_profit.order_id}: a limit order has a price of its own"
        for part, other in (pair, pair[::-1]):
            leg = self._open_leg(part, quantity)
            leg.linked_to, leg.attached = other.order_id, part is pair.stop
        assert pair.take_profit.leg is not None
        self._reports.write_intent(SUBMIT, pair.take_profit, pair.take_profit.leg, terms, pair.stop)
        return True

    def _open_leg(self, order: GatewayOrder, quantity: Decimal) -> Leg:
        order.legs += 1
        order.stop_held = False
        client_order_id = order.order_id if order.legs == 1 else f"{order.order_id}.{order.legs}"
        order.leg = Leg(client_order_id, quantity)
        self._book.legs[client_order_id] = order.order_id
        if order.state is OrderState.APPROVED:
            order.state = next_state(order.state, OrderEvent.SUBMIT, order_id=order.order_id)
        return order.leg

    def _hold_stop(self, order: GatewayOrder) -> None:
        """Watch the stop of an order that cannot be sent while another order of its group holds the position."""
        if not order.has_stop or order.stop_triggered or order.stop_held or not self._book.others_of_group(order):
            return
        order.stop_held = True
        order.note_emulation(HELD_STOP_EMULATED)
        if order.state is OrderState.APPROVED:
            self._reports.write_accepted(order)

    def _send_leg(self, order: GatewayOrder) -> None:
        terms, settings = order.terms, self._settings
        instrument = settings.instruments.get(terms.symbol)
        quantity = self._next_quantity(order)
        if quantity is None:
            self._hold_stop(order)
            return
        if quantity <= 0:
            self._book.end_order(order, CANCELED, NO_POSITION)
            return
        last_price, session, _ = self._market.get(terms.symbol, _NO_MARKET)
        opens_short = not order.buying and not self._book.positions.quantity_of(terms.symbol) > 0
        if opens_short and (is_crypto(instrument) or quantity != whole_units(quantity)):
            reason = "the broker accepts short sales of whole shares only"
            self._book.end_order(order, CANCELED if order.cum_quantity else REJECTED, reason)
            return
        broker_terms = to_broker_terms(order, instrument, settings, session, last_price)
        if isinstance(broker_terms, str):
            self._book.end_order(order, CANCELED if order.cum_quantity else REJECTED, broker_terms)
            return
        self._reports.write_intent(SUBMIT, order, self._open_leg(order, quantity), broker_terms)

    def _next_quantity(self, order: GatewayOrder) -> Decimal | None:
        """Return the quantity that can be sent now; None if other orders of the symbol must end first."""
        closable, quantity = self._book.closable(order), order.remaining
        same_symbol = (o for o in self._book.orders.values() if o is not order and o.terms.symbol == order.terms.symbol)
        # Both parts of an OCO order hold the same units.
        committed = sum(
            (
                o.leg.quantity - o.leg.cum_quantity
                for o in same_symbol
                if o.leg and o.buying == order.buying and not (o.leg.attached and self._book.linked_order(o))
            ),
            ZERO,
        )
        if order.terms.reduce_only:
            quantity = min(quantity, closable)
        if not closable or quantity <= closable - committed:
            return quantity
        order.note_emulation(SPLIT_EMULATED)
        return closable - committed if closable > committed else None
