"""Adjustments: the platform takes over the broker's position of a symbol, by the command `ACCEPT_POSITION`.

The gateway writes an adjustment as an `Execution` of the type TRADE, so that ledger, risk, lots and attribution book it
like a trade. Its order id and its execution id begin with `adj-`: no order is behind it. Lots and lot matches hold the
execution id, so that a tax export can mark them.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from operators.money import ZERO, plain, quantize
from schemas.errors import BadInput

PREFIX: Final = "adj-"
SYMBOL: Final = "symbol"
PLATFORM_QUANTITY: Final = "platform_quantity"
BROKER_QUANTITY: Final = "broker_quantity"
PRICE: Final = "price"
_ARGUMENTS = (SYMBOL, PLATFORM_QUANTITY, BROKER_QUANTITY, PRICE)
_AMOUNT_MAX = Decimal(10) ** 12
_SYMBOL_LENGTH_MAX = 64


class PositionDifference(NamedTuple):
    """A difference of positions that a person accepts, in signed units.

    `platform_quantity` includes `foreign_positions`. `price` is the price per unit at which the change is booked.
    """

    symbol: str
    platform_quantity: Decimal
    broker_quantity: Decimal
    price: Decimal

    @property
    def change(self) -> Decimal:
        return self.broker_quantity - self.platform_quantity

    def arguments(self) -> dict[str, str]:
        """Return the arguments of the command that accepts this difference."""
        quantities = (plain(self.platform_quantity), plain(self.broker_quantity))
        return dict(zip(_ARGUMENTS, (self.symbol, *quantities, plain(self.price)), strict=True))


def adjustment_order_id(command_id: str) -> str:
    """
    >>> adjustment_order_id("cmd-7f"), is_adjustment("adj-cmd-7f"), is_adjustment("ord-7")
    ('adj-cmd-7f', True, False)
    """
    return PREFIX + command_id


def adjustment_id(seq: int) -> str:
    """Return the execution id of an adjustment."""
    return f"{PREFIX}{seq}"


def is_adjustment(record_id: str) -> bool:
    """Whether an order id or execution id is that of an adjustment."""
    return record_id.startswith(PREFIX)


def parse_difference(arguments: Mapping[str, str]) -> PositionDifference:
    """Parse the arguments of an `ACCEPT_POSITION` command. Raises `BadInput` for a missing or malformed one."""
    symbol = arguments.get(SYMBOL, "")
    if not (symbol.isascii() and symbol.isprintable() and 0 < len(symbol) <= _SYMBOL_LENGTH_MAX and " " not in symbol):
        raise BadInput(
            f"{SYMBOL} must be 1 to 64 printable ASCII characters without spaces, found {ascii(symbol)[:64]}"
        )
    platform, broker, price = (_parse_amount(name, arguments.get(name, "")) for name in _ARGUMENTS[1:])
    if price <= 0:
        raise BadInput(f"{PRICE} must be above 0, found {plain(price)}")
    if platform == broker:
        raise BadInput(f"{BROKER_QUANTITY} must differ from {PLATFORM_QUANTITY}, found {plain(broker)} for both")
    return PositionDifference(symbol=symbol, platform_quantity=platform, broker_quantity=broker, price=price)


def _parse_amount(name: str, text: str) -> Decimal:
    amount = parse_signed(text)
    if amount is None:
        raise BadInput(f"{name} must be a number with at most 9 decimals, found {ascii(text)[:64]}")
    return amount


def parse_signed(text: str) -> Decimal | None:
    """Parse a signed amount of at most nine decimals; None if it is malformed.

    >>> parse_signed("-5"), parse_signed("1e3"), parse_signed("0.0000000001")
    (Decimal('-5.000000000'), None, None)
    """
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.replace(".", "", 1).isdecimal() or len(digits) > 32:
        return None
    amount = Decimal(text)
    if abs(amount) > _AMOUNT_MAX or amount != quantize(amount):
        return None
    return quantize(amount) or ZERO
