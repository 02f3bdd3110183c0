"""Exact arithmetic of money, prices and quantities: `Decimal` with nine places, rounded half to even.

The topics (Avro `decimal`, scale 9) and PostgreSQL (`NUMERIC(38,9)`) store nine places, so numbers do not change in
transport. Sums and differences of such numbers are exact with the ordinary operators up to 10^19. For products and
quotients, use `multiply`, `divide` and `portion`, which compute with 38 digits and round once, at the end.

Tax lots compute with 18 places (`EIGHTEEN_PLACES`), because exports of crypto exchanges have that many.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from schemas.errors import InvalidField

NANO = Decimal("0.000000001")
ZERO = Decimal("0.000000000")
ONE = Decimal(1)
_MONEY = Context(prec=38, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
_product = _MONEY.multiply
_quotient = _MONEY.divide
_round = _MONEY.quantize
_CONVERTED_MAX = 16_384
_converted: dict[float, Decimal] = {}
"""Recent results of `to_decimal`. Prices repeat, and a lookup takes a fifteenth of the time of a conversion."""
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def quantize(amount: Decimal) -> Decimal:
    """Round `amount` to nine places, half to even. Equal amounts get the same representation.

    >>> quantize(Decimal("1.0000000005"))
    Decimal('1.000000000')
    """
    return _round(amount, NANO)


def to_decimal(number: float) -> Decimal:
    """Convert a float to the decimal with the same `repr`, to nine places. Raises `InvalidField` for NaN and infinity.

    >>> to_decimal(49.18)
    Decimal('49.180000000')
    """
    amount = _converted.get(number)
    if amount is None:
        amount = sum_to_decimal(number)
        if number:  # 0.0 and -0.0 are one key, but two results
            if len(_converted) >= _CONVERTED_MAX:
                _converted.clear()
            _converted[number] = amount
    return amount


def sum_to_decimal(number: float) -> Decimal:
    """Convert like `to_decimal`, for a number that seldom repeats, such as a sum."""
    amount = Decimal(repr(number))
    if not amount.is_finite():
        raise InvalidField(f"an amount must be a finite number, found {number!r}")
    return _round(amount, NANO)


def multiply(a: Decimal, b: Decimal) -> Decimal:
    """`a * b` to nine places."""
    return _round(_product(a, b), NANO)


def divide(a: Decimal, b: Decimal) -> Decimal:
    """`a / b` to nine places; `b` must not be zero."""
    return _round(_quotient(a, b), NANO)


def portion(total: Decimal, share: Decimal, whole: Decimal) -> Decimal:
    """Return `total * share / whole` to nine places. Callers allocate the remainder to the last part instead."""
    return _round(_quotient(_product(total, share), whole), NANO)


class Places:
    """Products, quotients and portions with a fixed number of decimal places, rounded once, half to even.

    `precision` is the number of digits of an intermediate result. The ordinary operators compute with 28 digits; where
    sums need more, call them in a function with the decorator `exact_sums`.

    >>> EIGHTEEN_PLACES.divide(Decimal(1), Decimal(6))
    Decimal('0.166666666666666667')
    """

    __slots__ = ("_product", "_quotient", "_round", "_unit", "context")

    def __init__(self, places: int, precision: int) -> None:
        self._unit = Decimal(1).scaleb(-places)
        traps = [InvalidOperation, DivisionByZero, Overflow]
        self.context = Context(prec=precision, rounding=ROUND_HALF_EVEN, traps=traps)
        self._product, self._quotient = self.context.multiply, self.context.divide
        self._round = self.context.quantize

    def quantize(self, amount: Decimal) -> Decimal:
        return self._round(amount, self._unit)

    def multiply(self, a: Decimal, b: Decimal) -> Decimal:
        return self._round(self._product(a, b), self._unit)

    def divide(self, a: Decimal, b: Decimal) -> Decimal:
        return self._round(self._quotient(a, b), self._unit)

    def portion(self, total: Decimal, share: Decimal, whole: Decimal) -> Decimal:
        """Return `total * share / whole`."""
        return self._round(self._quotient(self._product(total, share), whole), self._unit)

    def exact_sums(self, function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        """Decorate a function so that `+` and `-` in it do not round. Not for generators."""

        @wraps(function)
        def with_precision(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            with localcontext(self.context):
                return function(*args, **kwargs)

        return with_precision


NINE_PLACES: Final = Places(9, _MONEY.prec)
EIGHTEEN_PLACES: Final = Places(18, 100)


def units_for(amount: Decimal, price: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` that costs at most `amount`; 0 if `amount` or `price` is 0 or less."""
    if amount <= 0 or price <= 0:
        return ZERO
    return _round(_product(_MONEY.divide_int(amount, _product(price, step)), step), NANO)


def is_positive(amount: Decimal) -> bool:
    """Whether `amount` is finite and above 0. Also safe for NaN, for which a comparison raises."""
    return amount.is_finite() and amount > 0


def is_not_negative(amount: Decimal) -> bool:
    """Whether `amount` is finite and at least 0."""
    return amount.is_finite() and amount >= 0


def round_to(price: Decimal, tick_size: Decimal) -> Decimal:
    """Round `price` to the nearest multiple of `tick_size`, half to even."""
    return _round(_product(_MONEY.to_integral_value(_quotient(price, tick_size)), tick_size), NANO)


def floor_to(quantity: Decimal, step: Decimal) -> Decimal:
    """Round `quantity`, which must not be negative, down to a multiple of `step`.

    >>> floor_to(Decimal("406.67"), Decimal("1"))
    Decimal('406.000000000')
    """
    assert quantity >= 0 and step > 0, f"floor_to({quantity}, {step})"
    return _round(_product(_MONEY.divide_int(quantity, step), step), NANO)


def plain(amount: Decimal) -> str:
    """Format an amount for users, without exponent and trailing zeros.

    >>> plain(Decimal("1000.500000000")), plain(Decimal("-0E-9"))
    ('1000.5', '0')
    """
    if not amount:
        return "0"
    text = str(amount)
    if "E" in text or len(text) > _MONEY.prec:
        text = format(_MONEY.normalize(amount), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
