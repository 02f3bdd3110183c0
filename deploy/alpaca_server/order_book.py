"""The broker's side of the account: orders, positions and cash, with Alpaca's rules. No I/O, no clock."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

ZERO = Decimal(0)
OPEN_STATES = frozenset({"new", "accepted", "pending_new", "partially_filled", "held"})
EXTENDED, REGULAR, CLOSED = "extended", "regular", "closed"
_TYPES = ("market", "limit", "stop", "stop_limit", "trailing_stop")
_TIMES_IN_FORCE = ("day", "gtc", "ioc", "fok", "opg", "cls")
_SHORT_MARK_UP = Decimal("1.03")
_CENT = Decimal("0.01")
_AVERAGE_QUANTUM = Decimal("0.000000001")


class BrokerApiError(Exception):
    """An error response of Alpaca: HTTP status, Alpaca's own code and a message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class BrokerOrder:
    """One order in the broker's book."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    trail_price: Decimal | None
    trail_percent: Decimal | None
    extended_hours: bool
    created_at: str
    status: str = "new"
    filled: Decimal = ZERO
    value: Decimal = ZERO
    triggered: bool = False
    best: Decimal | None = None
    ended_at: str | None = None
    replaced_by: str | None = None
    replaces: str | None = None

    @property
    def leaves(self) -> Decimal:
        return self.quantity - self.filled

    @property
    def average_price(self) -> Decimal | None:
        return (self.value / self.filled).quantize(_AVERAGE_QUANTUM).normalize() if self.filled else None

    def as_json(self) -> dict[str, Any]:
        """Return the order as Alpaca's JSON."""
        return {
            "id": self.id,
            "client_order_id": self.client_order_id,
            "created_at": self.created_at,
            "updated_at": self.ended_at or self.created_at,
            "submitted_at": self.created_at,
            "filled_at": self.ended_at if self.status == "filled" else None,
            "expired_at": None,
            "canceled_at": self.ended_at if self.status == "canceled" else None,
            "failed_at": None,
            "replaced_at": self.ended_at if self.status == "replaced" else None,
            "replaced_by": self.replaced_by,
            "replaces": self.replaces,
            "asset_id": str(uuid.uuid5(uuid.NAMESPACE_DNS, self.symbol)),
            "symbol": self.symbol,
            "asset_class": "crypto" if "/" in self.symbol else "us_equity",
            "notional": None,
            "qty": decimal_text(self.quantity),
            "filled_qty": decimal_text(self.filled),
            "filled_avg_price": decimal_text(self.average_price),
            "order_class": "",
            "order_type": self.type,
            "type": self.type,
            "side": self.side,
            "time_in_force": self.time_in_force,
            "limit_price": decimal_text(self.limit_price),
            "stop_price": decimal_text(self.stop_price),
            "status": self.status,
            "extended_hours": self.extended_hours,
            "legs": None,
            "trail_percent": decimal_text(self.trail_percent),
            "trail_price": decimal_text(self.trail_price),
            "hwm": decimal_text(self.best),
        }


@dataclass
class BrokerBook:
    """The account. `on_event(event, order, fields)` is called for each event of an order; `now` returns ISO time."""

    on_event: Callable[[str, BrokerOrder, dict[str, Any]], None]
    now: Callable[[], str]
    cash: Decimal = Decimal(1_000_000)
    leverage: Decimal = Decimal(2)
    session: str = REGULAR
    positions: dict[str, Decimal] = field(default_factory=dict)
    costs: dict[str, Decimal] = field(default_factory=dict)
    orders: dict[str, BrokerOrder] = field(default_factory=dict)
    by_client: dict[str, BrokerOrder] = field(default_factory=dict)
    prices: dict[str, Decimal] = field(default_factory=dict)
    fill_quantity_max: Decimal | None = None  # maximum units of one order that one price fills
    submission_counts: dict[str, int] = field(default_factory=dict)  # how often each client_order_id was accepted
    fills: list[dict[str, Any]] = field(default_factory=list)

    # -- requests ------------------------------------------------------------------------------------------------------

    def submit(self, request: dict[str, Any], replaces: BrokerOrder | None = None) -> BrokerOrder:
        """Accept an order. Raises BrokerApiError with the broker's reason if it is rejected."""
        order = self._parse_order(request)
        if order.client_order_id in self.by_client:
            raise BrokerApiError(422, 40010001, "client_order_id must be unique")
        self._check(order, replaces)
        order.replaces = None if replaces is None else replaces.id
        self.orders[order.id] = self.by_client[order.client_order_id] = order
        self.submission_counts[order.client_order_id] = self.submission_counts.get(order.client_order_id, 0) + 1
        self.on_event("new", order, {})
        return order

    def cancel(self, order_id: str) -> BrokerOrder:
        order = self.find(order_id)
        if order.status not in OPEN_STATES:
            raise BrokerApiError(422, 42210000, f'order is already in "{order.status}" state')
        self.end_order(order, "canceled")
        return order

    def replace(self, order_id: str, changes: dict[str, Any]) -> BrokerOrder:
        old = self.find(order_id)
        if old.status not in OPEN_STATES:
            raise BrokerApiError(422, 42210000, f'order is already in "{old.status}" state')
        terms = {**old.as_json(), **{name: value for name, value in changes.items() if value is not None}}
        terms["client_order_id"] = changes.get("client_order_id") or str(uuid.uuid4())
        new = self.submit({**terms, "trail_price": changes.get("trail", old.trail_price)}, old)
        new.filled, new.value = old.filled, old.value
        old.replaced_by = new.id
        self.end_order(old, "replaced")
        return new

    def find(self, order_id: str) -> BrokerOrder:
        if order_id not in self.orders:
            raise BrokerApiError(404, 40410000, f"order not found for {order_id}")
        return self.orders[order_id]

    def find_by_client_id(self, client_order_id: str) -> BrokerOrder:
        if client_order_id not in self.by_client:
            raise BrokerApiError(404, 40410000, f"order not found for {client_order_id}")
        return self.by_client[client_order_id]

    # -- events --------------------------------------------------------------------------------------------------------

    def end_order(self, order: BrokerOrder, status: str) -> None:
        """End an order without further trading."""
        order.status, order.ended_at = status, self.now()
        self.on_event(status, order, {})

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Record a trade at `price`, and match every open order of the symbol against it, oldest first."""
        self.prices[symbol] = price
        if self.session == CLOSED:
            return
        for order in [o for o in self.orders.values() if o.symbol == symbol and o.status in OPEN_STATES]:
            if self.session == EXTENDED and not order.extended_hours:
                continue
            if self._is_executable_at(order, price):
                self.fill(order, min(order.leaves, self.fill_quantity_max or order.leaves), price)
            if order.time_in_force in ("ioc", "fok") and order.status in OPEN_STATES:
                self.end_order(order, "canceled")

    def fill(self, order: BrokerOrder, quantity: Decimal, price: Decimal) -> None:
        order.filled += quantity
        order.value += quantity * price
        signed = quantity if order.side == "buy" else -quantity
        position = self.positions.get(order.symbol, ZERO) + signed
        self.cash -= signed * price
        self.costs[order.symbol] = self.costs.get(order.symbol, ZERO) + signed * price
        if position:
            self.positions[order.symbol] = position
        else:
            self.positions.pop(order.symbol, None)
            self.costs.pop(order.symbol, None)
        is_complete = not order.leaves
        order.status = "filled" if is_complete else "partially_filled"
        if is_complete:
            order.ended_at = self.now()
        event = "fill" if is_complete else "partial_fill"
        fields = {
            "price": decimal_text(price),
            "qty": decimal_text(quantity),
            "timestamp": self.now(),
            "position_qty": decimal_text(position),
            "execution_id": str(uuid.uuid4()),
        }
        self.fills.append({"order_id": order.id, "symbol": order.symbol, "side": order.side, **fields})
        self.on_event(event, order, fields)

    def equity(self) -> Decimal:
        return self.cash + sum((position * self.prices.get(s, ZERO) for s, position in self.positions.items()), ZERO)

    def buying_power(self) -> Decimal:
        """Return equity times leverage, less the gross positions and the amounts reserved by open orders."""
        gross = sum((abs(position) * self.prices.get(s, ZERO) for s, position in self.positions.items()), ZERO)
        pending = sum((self._reserved_cash(o) for o in self.orders.values() if o.status in OPEN_STATES), ZERO)
        return max(ZERO, self.equity() * self.leverage - gross - pending).quantize(_CENT)

    # -- rules ---------------------------------------------------------------------------------------------------------

    def _parse_order(self, request: dict[str, Any]) -> BrokerOrder:
        kind, time_in_force, side = request.get("type"), request.get("time_in_force"), request.get("side")
        for name, value, allowed in (
            ("type", kind, _TYPES),
            ("time_in_force", time_in_force, _TIMES_IN_FORCE),
            ("side", side, ("buy", "sell")),
        ):
            if value not in allowed:
                raise BrokerApiError(422, 40010001, f"invalid {name}: {value}")
        numbers = {name: _number(request, name) for name in ("qty", "limit_price", "stop_price", "trail_percent")}
        trail = _number(request, "trail_price")
        quantity = numbers["qty"]
        if quantity is None or quantity <= 0:
            raise BrokerApiError(422, 40010001, "qty must be > 0")
        if kind in ("limit", "stop_limit") and numbers["limit_price"] is None:
            raise BrokerApiError(422, 40010001, f"{kind} orders require a limit price")
        if kind in ("stop", "stop_limit") and numbers["stop_price"] is None:
            raise BrokerApiError(422, 40010001, f"{kind} orders require a stop price")
        if kind == "trailing_stop" and (trail is None) == (numbers["trail_percent"] is None):
            raise BrokerApiError(422, 40010001, "trailing stop orders must specify one of trail_price or trail_percent")
        return BrokerOrder(
            id=str(uuid.uuid4()),
            client_order_id=str(request.get("client_order_id") or uuid.uuid4()),
            symbol=str(request.get("symbol")),
            side=str(side),
            type=str(kind),
            time_in_force=str(time_in_force),
            quantity=quantity,
            limit_price=numbers["limit_price"],
            stop_price=numbers["stop_price"],
            trail_price=trail,
            trail_percent=numbers["trail_percent"],
            extended_hours=bool(request.get("extended_hours")),
            created_at=self.now(),
        )

    def _check(self, order: BrokerOrder, replaces: BrokerOrder | None) -> None:
        if order.symbol not in self.prices:
            raise BrokerApiError(422, 40010001, f"asset {order.symbol} not found")
        if order.extended_hours and (order.type != "limit" or order.time_in_force != "day"):
            raise BrokerApiError(422, 42210000, "extended hours order must be DAY limit orders")
        if order.quantity != order.quantity.to_integral_value() and order.time_in_force != "day":
            raise BrokerApiError(422, 42210000, "fractional orders must be DAY orders")
        position = self.positions.get(order.symbol, ZERO)
        sign = 1 if order.side == "buy" else -1
        closable = max(ZERO, -position * sign)
        open_orders = [o for o in self.orders.values() if o.symbol == order.symbol and o.status in OPEN_STATES]
        same_side = [o for o in open_orders if o.side == order.side and o is not replaces]
        reserved = sum((o.leaves for o in same_side), ZERO)
        if closable and order.quantity > closable - reserved:
            detail = (
                f"requested: {decimal_text(order.quantity)}, available: {decimal_text(max(ZERO, closable - reserved))}"
            )
            raise BrokerApiError(403, 40310000, f"insufficient qty available for order ({detail})")
        if self._reserved_cash(order) > self.buying_power() + (self._reserved_cash(replaces) if replaces else ZERO):
            raise BrokerApiError(403, 40310000, "insufficient buying power")

    def _reserved_cash(self, order: BrokerOrder) -> Decimal:
        """Return the cash that an open order reserves.

        A buy reserves its limit price or the market price, a short sale the limit or 1.03 times the market price.
        """
        price = self.prices.get(order.symbol, ZERO)
        position = self.positions.get(order.symbol, ZERO)
        if order.side == "buy":
            return ZERO if position < 0 else order.leaves * (order.limit_price or order.stop_price or price)
        return ZERO if position > 0 else order.leaves * max(order.limit_price or ZERO, price * _SHORT_MARK_UP)

    def _is_executable_at(self, order: BrokerOrder, price: Decimal) -> bool:
        buying = order.side == "buy"
        if order.type in ("stop", "stop_limit", "trailing_stop") and not order.triggered:
            order.triggered = self._is_triggered(order, price, buying)
            if not order.triggered:
                return False
        if order.limit_price is None:
            return True
        return price <= order.limit_price if buying else price >= order.limit_price

    def _is_triggered(self, order: BrokerOrder, price: Decimal, buying: bool) -> bool:
        stop = order.stop_price
        if order.type == "trailing_stop":
            order.best = price if order.best is None else (min if buying else max)(order.best, price)
            trail = order.trail_price
            if trail is None:
                assert order.trail_percent is not None
                trail = order.best * order.trail_percent / 100
            stop = order.best + trail if buying else order.best - trail
        assert stop is not None
        return price >= stop if buying else price <= stop


def _number(request: dict[str, Any], name: str) -> Decimal | None:
    value = request.get(name)
    if value is None:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise BrokerApiError(422, 40010001, f"{name} is not a number: {value}") from error
    if not number.is_finite():
        raise BrokerApiError(422, 40010001, f"{name} is not a number: {value}")
    return number


def decimal_text(number: Decimal | None) -> str | None:
    return None if number is None else f"{number.normalize():f}" if number else "0"
