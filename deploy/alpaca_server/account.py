"""The account of the local broker: cash, positions, activities and buying power."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from deploy.alpaca_server.account_rules import AccountConfiguration
from deploy.alpaca_server.assets import Asset, make_asset
from deploy.alpaca_server.broker_order import ZERO, BrokerOrder, decimal_text
from deploy.alpaca_server.day_trades import DayTrades, new_york_day

LEVERAGE_MAX = Decimal(2)
_SHORT_PRICE_FACTOR = Decimal("1.03")
_CENT = Decimal("0.01")


@dataclass
class BrokerAccountState:
    """Cash in USD, signed positions in units, and the orders that reserve them. `now` returns RFC 3339 time in UTC.

    costs       symbol -> signed cost of the open position, at its average entry price
    fills       every fill, oldest first
    activities  what moved cash without a trade, oldest first
    """

    on_event: Callable[[str, BrokerOrder, dict[str, Any]], None]
    now: Callable[[], str]
    cash: Decimal = Decimal(1_000_000)
    positions: dict[str, Decimal] = field(default_factory=dict)
    costs: dict[str, Decimal] = field(default_factory=dict)
    assets: dict[str, Asset] = field(default_factory=dict)
    orders: dict[str, BrokerOrder] = field(default_factory=dict)
    prices: dict[str, Decimal] = field(default_factory=dict)
    fills: list[dict[str, Any]] = field(default_factory=list)
    activities: list[dict[str, Any]] = field(default_factory=list)
    configuration: AccountConfiguration = field(default_factory=AccountConfiguration)
    day_trades: DayTrades = field(init=False)

    def __post_init__(self) -> None:
        self.day_trades = DayTrades(lambda: new_york_day(self.now()))

    def list_asset(self, symbol: str, price: Decimal) -> None:
        """Make a symbol tradable, at a first price."""
        self.assets[symbol], self.prices[symbol] = make_asset(symbol), price

    # -- positions and orders ------------------------------------------------------------------------------------------

    def position(self, symbol: str) -> Decimal:
        return self.positions.get(symbol, ZERO)

    def price(self, symbol: str) -> Decimal:
        return self.prices.get(symbol, ZERO)

    def cost(self, symbol: str) -> Decimal:
        """Return the signed cost of a position. One that was set without a cost is valued at the current price."""
        return self.costs.get(symbol, self.position(symbol) * self.price(symbol))

    def open_orders(self, symbol: str | None = None) -> list[BrokerOrder]:
        return [one for one in self.orders.values() if one.is_open and symbol in (None, one.symbol)]

    def open_partner(self, order: BrokerOrder) -> BrokerOrder | None:
        """Return the other exit of a bracket or OCO order while it is open."""
        partner = None if order.partner_id is None else self.orders.get(order.partner_id)
        return partner if partner is not None and partner.is_open else None

    def held_quantity(self, symbol: str, side: str, *, without: BrokerOrder | None = None) -> Decimal:
        """Return the units that the open orders of one side hold, except those of `without` and its partner."""
        skipped = () if without is None else (without.id, without.partner_id)
        orders = (one for one in self.open_orders(symbol) if one.side == side and one.id not in skipped)
        return sum((self._held_by(one) for one in orders), ZERO)

    def _held_by(self, order: BrokerOrder) -> Decimal:
        """Return the units that an order holds: an exit whose entry is partly filled holds the filled part."""
        if self._is_second_exit(order):
            return ZERO
        return self.orders[order.parent_id].filled if order.waits_for_parent and order.parent_id else order.remaining

    def _is_second_exit(self, order: BrokerOrder) -> bool:
        """Whether the order is the stop loss beside a take profit: both are for the same units."""
        return order.is_attached and order.type != "limit" and self.open_partner(order) is not None

    # -- money ---------------------------------------------------------------------------------------------------------

    @property
    def leverage(self) -> Decimal:
        return min(LEVERAGE_MAX, Decimal(self.configuration.max_margin_multiplier))

    def equity(self) -> Decimal:
        return self.cash + sum((units * self.price(symbol) for symbol, units in self.positions.items()), ZERO)

    def buying_power(self) -> Decimal:
        """Return equity times leverage, less the gross positions and the amounts reserved by open orders.

        Crypto is not marginable: it counts at its full value, also as equity.
        """
        gross = margin_free = ZERO
        for symbol, units in self.positions.items():
            value = abs(units) * self.price(symbol)
            gross += value
            margin_free += value if "/" in symbol else ZERO
        power = (self.equity() - margin_free) * self.leverage + margin_free - gross - self._pending()
        return max(ZERO, power).quantize(_CENT)

    def cash_available(self) -> Decimal:
        """Return the cash that open orders have not reserved."""
        return max(ZERO, self.cash - self._pending()).quantize(_CENT)

    def _pending(self) -> Decimal:
        """Return the cash that open orders reserve. Exits reserve none before their entry is filled."""
        orders = (one for one in self.open_orders() if not (one.waits_for_parent or self._is_second_exit(one)))
        return sum(map(self.reserved_cash, orders), ZERO)

    def reserved_cash(self, order: BrokerOrder) -> Decimal:
        """Return the cash that an open order reserves.

        A buy reserves its limit price or the market price, a short sale the limit or 1.03 times the market price.
        """
        price, position = self.price(order.symbol), self.position(order.symbol)
        if order.is_buy:
            if order.notional is not None:
                return ZERO if position < 0 else order.notional - order.value
            return ZERO if position < 0 else order.remaining * (order.limit_price or order.stop_price or price)
        return ZERO if position > 0 else order.remaining * max(order.limit_price or ZERO, price * _SHORT_PRICE_FACTOR)

    # -- bookings ------------------------------------------------------------------------------------------------------

    def book_fill(self, order: BrokerOrder, quantity: Decimal, price: Decimal) -> dict[str, Any]:
        """Book a fill into cash and position. Return the fields of its trade update.

        A fill that reduces a position keeps its average entry price.
        """
        signed = quantity if order.is_buy else -quantity
        before, cost = self.position(order.symbol), self.cost(order.symbol)
        after = before + signed
        if before * signed >= 0:
            cost += signed * price
        else:
            cost = cost * after / before if before * after > 0 else after * price
        self.cash -= signed * price
        if after:
            self.positions[order.symbol], self.costs[order.symbol] = after, cost
        else:
            self.positions.pop(order.symbol, None)
            self.costs.pop(order.symbol, None)
        if not order.is_crypto:
            self.day_trades.record_fill(order.symbol, before, signed)
        fields = {
            "price": decimal_text(price),
            "qty": decimal_text(quantity),
            "timestamp": self.now(),
            "position_qty": decimal_text(after),
            "execution_id": str(uuid.uuid4()),
        }
        totals = {"cum_qty": decimal_text(order.filled), "leaves_qty": decimal_text(order.remaining)}
        names = {"order_id": order.id, "symbol": order.symbol, "side": order.side, "order_status": order.status}
        self.fills.append({**names, **totals, **fields})
        return fields

    def move_cash(self, activity_type: str, amount: Decimal, description: str = "") -> None:
        """Move cash without a trade, and record it as an account activity: CSD, CSW, FEE, INT …"""
        self.cash += amount
        day = self.now()[:10]
        number = len(self.activities) + 1
        self.activities.append(
            {
                "id": f"{day.replace('-', '')}{number:09d}::{uuid.uuid5(uuid.NAMESPACE_DNS, f'{day}/{number}')}",
                "activity_type": activity_type,
                "date": day,
                "net_amount": decimal_text(amount),
                "description": description,
                "status": "executed",
            }
        )
