"""Check the numbers and names that a strategy passes to an action, and convert them to the text of a record."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from operators.manual_orders import QUANTITY_MAX
from operators.money import plain, quantize
from schemas.errors import BadInput

AMOUNT_MAX = QUANTITY_MAX
TEXT_LENGTH_MAX = 500
_TAG_PATTERN = re.compile(r"[ -~]{0,64}")


def parse_number(name: str, value: Any) -> Decimal:
    """Return a finite number of at most nine decimals. Raises BadInput for NaN, infinity and non-numbers.

    Numbers are int, float, Decimal, and the scalars of NumPy.
    """
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError("expected a number")
        number = value if isinstance(value, Decimal) else Decimal(repr(value)) if type(value) is float else None
        if number is None:
            number = Decimal(value) if type(value) is int else Decimal(repr(float(value)))
        if not number.is_finite():
            raise ValueError("not finite")
    except (TypeError, ValueError, InvalidOperation):
        raise BadInput(f"{name} must be a finite number, found {value!r:.64}") from None
    if abs(number) > AMOUNT_MAX:
        raise BadInput(f"{name} must be between -{AMOUNT_MAX:f} and {AMOUNT_MAX:f}, found {value!r:.64}")
    return quantize(number)


def parse_positive(name: str, value: Any) -> Decimal:
    """Return a number above 0, rounded to nine decimals. Raises BadInput for any other value."""
    number = parse_number(name, value)
    if number <= 0:
        raise BadInput(f"{name} must be above 0, found {value!r:.64}")
    return number


def positive_text(name: str, value: Any) -> str:
    return plain(parse_positive(name, value))


def tag_text(tag: str) -> str:
    """Return a valid tag. Raises BadInput for one that is longer than 64 characters or not printable ASCII."""
    if not isinstance(tag, str) or not _TAG_PATTERN.fullmatch(tag):
        raise BadInput(f"tag must be up to 64 printable ASCII characters, found {tag!r:.80}")
    return tag
