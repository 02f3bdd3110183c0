"""One order at the local broker, its JSON, and the error response of the broker."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

ZERO = Decimal(0)
OPEN_STATES = frozenset({"new", "accepted", "pending_new", "partially_filled", "held"})
BAD_REQUEST, INVALID, FORBIDDEN, DAY_TRADING, NOT_FOUND, UNPROCESSABLE = (
    *(40010000, 40010001, 40310000, 40310100, 40410000, 42210000),
)
"""Alpaca's own error codes. The first three digits are the HTTP status, except that `INVALID` comes with 422."""
_AVERAGE_QUANTUM = Decimal("0.000000001")
_HUNDRED = Decimal(100)


class BrokerApiError(Exception):
    """An error response of Alpaca: HTTP status, Alpaca's own code, a message, and further fields of the response."""

    def __init__(self, status: int, code: int, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fields = status, code, message, fields


def invalid(message: str) -> BrokerApiError:
    """Build the response to a request with a malformed or missing field."""
    return BrokerApiError(422, INVALID, message)


def unprocessable(message: str, **fields: Any) -> BrokerApiError:
    """Build the response to a request that is well-formed and against a rule."""
    return BrokerApiError(422, UNPROCESSABLE, message, **fields)


def forbidden(message: str, **fields: Any) -> BrokerApiError:
    """Build the response to a request that the account does not permit."""
    return BrokerApiError(403, FORBIDDEN, message, **fields)


@dataclass
class BrokerOrder:
    """One order in the broker's book. Quantities in units, prices and money in USD.

    notional          money to trade instead of a quantity; `quantity` then follows from the price
    best              trailing stop: the best price since the order arrived (Alpaca's `hwm`)
    partner_id        the other exit of a bracket or OCO order
    parent_id         the order under which this one is nested: the entry, or the take profit of an OCO order
    is_attached       whether the broker has created this order with another one
    waits_for_parent  exit of a bracket or OTO order whose entry is not completely filled
    """

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
    order_class: str = ""
    partner_id: str | None = None
    is_attached: bool = False
    notional: Decimal | None = None
    parent_id: str | None = None
    waits_for_parent: bool = False

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATES

    @property
    def is_buy(self) -> bool:
        return self.side == "buy"

    @property
    def is_crypto(self) -> bool:
        return "/" in self.symbol

    @property
    def is_fraction(self) -> bool:
        """Whether the order is for a fraction of a unit, or for an amount of money."""
        return self.notional is not None or self.quantity != self.quantity.to_integral_value()

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled

    @property
    def average_price(self) -> Decimal | None:
        return (self.value / self.filled).quantize(_AVERAGE_QUANTUM).normalize() if self.filled else None

    @property
    def current_stop_price(self) -> Decimal | None:
        """The stop price. That of a trailing stop follows the best price."""
        if self.type != "trailing_stop" or self.best is None:
            return self.stop_price
        trail = self.trail_price
        if trail is None:
            assert self.trail_percent is not None, f"{self.id}: a trailing stop without a trail"
            trail = self.best * self.trail_percent / _HUNDRED
        return self.best + trail if self.is_buy else self.best - trail

    def as_json(self, legs: list[BrokerOrder] | None = None) -> dict[str, Any]:
        """Return the order as Alpaca's JSON, with the orders that are nested under it."""
        return {
            "id": self.id,
            "client_order_id": self.client_order_id,
            "created_at": self.created_at,
            "updated_at": self.ended_at or self.created_at,
            "submitted_at": self.created_at,
            "filled_at": self._ended_at("filled"),
            "expired_at": self._ended_at("expired"),
            "canceled_at": self._ended_at("canceled"),
            "failed_at": None,
            "replaced_at": self._ended_at("replaced"),
            "replaced_by": self.replaced_by,
            "replaces": self.replaces,
            "asset_id": asset_id(self.symbol),
            "symbol": self.symbol,
            "asset_class": "crypto" if self.is_crypto else "us_equity",
            "notional": decimal_text(self.notional),
            "qty": None if self.notional is not None else decimal_text(self.quantity),
            "filled_qty": decimal_text(self.filled),
            "filled_avg_price": decimal_text(self.average_price),
            "order_class": self.order_class,
            "order_type": self.type,
            "type": self.type,
            "side": self.side,
            "time_in_force": self.time_in_force,
            "limit_price": decimal_text(self.limit_price),
            "stop_price": decimal_text(self.current_stop_price),
            "status": self.status,
            "extended_hours": self.extended_hours,
            "legs": [leg.as_json() for leg in legs] if legs else None,
            "trail_percent": decimal_text(self.trail_percent),
            "trail_price": decimal_text(self.trail_price),
            "hwm": decimal_text(self.best),
        }

    def _ended_at(self, status: str) -> str | None:
        return self.ended_at if self.status == status else None


def asset_id(symbol: str) -> str:
    """Return the id of an asset: the same in every account and after every start."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, symbol))


def decimal_text(number: Decimal | None) -> str | None:
    """
    >>> decimal_text(Decimal("100.50")), decimal_text(Decimal("0E-9")), decimal_text(None)
    ('100.5', '0', None)
    """
    return None if number is None else f"{number.normalize():f}" if number else "0"
