"""The account at the simulated broker: the cash of a cash account, and the liquidation of a negative account."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from operators.manual_orders import LIQUIDATION_PREFIX
from operators.money import ONE, ZERO, multiply, plain, units_for
from operators.venue.fees import total_fees
from operators.venue.settings import VenueSettings
from operators.venue.venue_order import VenueOrder
from schemas.records import BUY, MARKET, SELL, Order, OrderTerms, Valuation


class VenueAccount:
    """Cash and liquidation of the account, from the valuation of the previous time slice and the fills since.

    cash         None before the first valuation; no limit applies until then
    liquidation  why the broker closes all positions and accepts no more orders; "" if it does not
    rates        currency -> value of one unit in account currency
    """

    def __init__(self, settings: VenueSettings) -> None:
        self._settings = settings
        self.cash: Decimal | None = None
        self.liquidation = ""
        self.rates: dict[str, Decimal] = {}

    def record_valuation(self, valuation: Valuation) -> bool:
        """Take over the cash. Return whether a liquidation begins, because the equity is below zero."""
        self.cash = valuation.cash
        if self.liquidation or valuation.equity >= 0:
            return False
        self.liquidation = f"liquidation: equity is {plain(valuation.equity)}"
        return True

    def book(self, symbol: str, signed_quantity: Decimal, price: Decimal, fee: Decimal) -> None:
        """Book a fill: its value and fee change the cash."""
        if self.cash is not None:
            unit_value = self._unit_value(symbol)
            unit_price = price if unit_value is ONE else multiply(price, unit_value)
            self.cash -= multiply(signed_quantity, unit_price) + fee

    def affordable(self, order: VenueOrder, quantity: Decimal, price: Decimal, takes_liquidity: bool) -> Decimal:
        """Return the part of `quantity` that the cash pays with its fees, in whole lots.

        In an account with margin, and for a sale, that is all of it.
        """
        if not self._settings.cash_account or self.cash is None or not order.buying:
            return quantity
        symbol = order.terms.symbol
        unit_price, lot = multiply(price, self._unit_value(symbol)), self._settings.instruments.lot_size_of(symbol)
        for _ in range(2):  # the fees of the first quantity are at least those of the second
            fee = self._fee(order, quantity, price, takes_liquidity)
            if not quantity or multiply(quantity, unit_price) + fee <= self.cash:
                return quantity
            quantity = units_for(self.cash - fee, unit_price, lot)
        return quantity

    def _fee(self, order: VenueOrder, quantity: Decimal, price: Decimal, takes_liquidity: bool) -> Decimal:
        value = multiply(quantity, price)
        taker_value = order.taker_value + (value if takes_liquidity else ZERO)
        due = total_fees(self._settings, BUY, order.cum_quantity + quantity, order.traded_value + value, taker_value)
        return max(ZERO, due - order.fees)

    def _unit_value(self, symbol: str) -> Decimal:
        instrument = self._settings.instruments.get(symbol)
        if instrument is None:
            return ONE
        rate = self.rates.get(instrument.currency, ONE)
        return ONE if rate is ONE and instrument.multiplier == ONE else multiply(instrument.multiplier, rate)

    def snapshot(self) -> Any:
        return (self.cash, self.liquidation)

    def restore(self, snapshot: Any) -> None:
        self.cash, self.liquidation = snapshot


def liquidation_order(ts_ns: int, number: int, symbol: str, quantity: Decimal) -> VenueOrder:
    """Return the market order that closes a position of `quantity` units (signed)."""
    terms = OrderTerms(
        symbol=symbol,
        side=SELL if quantity > 0 else BUY,
        quantity=abs(quantity),
        order_type=MARKET,
        time_in_force="GTC",
        limit_price=None,
        reduce_only=True,
    )
    order_id = f"{LIQUIDATION_PREFIX}{number}"
    order = Order(
        seq=number, ts_ns=ts_ns, order_id=order_id, cause_id=order_id, terms=terms, risk_epoch=0, checks=[], replaces=""
    )
    return VenueOrder(order)
