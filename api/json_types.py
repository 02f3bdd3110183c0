"""Values in the API's JSON: money as numbers, times as ISO 8601 in UTC with a Z."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, PlainSerializer, WithJsonSchema

from schemas.errors import BadInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_SEQ = 2**63 - 1


def number(value: Decimal) -> int | float:
    """Convert to a JSON number: an integer for whole values, otherwise the nearest double, which prints the same
    digits.

    >>> number(Decimal("100.000000000")), number(Decimal("150.250000000"))
    (100, 150.25)
    """
    return int(value) if value == value.to_integral_value() else float(value)


Amount = Annotated[
    Decimal,
    PlainSerializer(number, return_type=int | float, when_used="json"),
    WithJsonSchema({"type": "number"}, mode="serialization"),
]
"""Money or a quantity: a `Decimal` in Python, a number in JSON."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


TextLine = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
"""One line of printable text from a caller."""
Symbol = Annotated[str, Field(pattern=r"^[!-~]{1,32}$", description="symbol of an instrument, without spaces")]


class ApiModel(BaseModel):
    """Base class of all request and response bodies."""


def utc(ts_ns: int) -> str:
    """Format a time to the microsecond; whole seconds have no fraction.

    >>> utc(1_705_314_600_000_000_000), utc(1_705_314_600_250_000_999)
    ('2024-01-15T10:30:00Z', '2024-01-15T10:30:00.250000Z')
    """
    return (EPOCH + timedelta(microseconds=ts_ns // 1000)).isoformat().replace("+00:00", "Z")


def nanoseconds(name: str, timestamp: datetime) -> int:
    """Convert a caller's timestamp to ns since 1970; without a time zone it is UTC.

    `name` is the parameter for error messages. Raises BadInput if the time does not fit into 64 bits.
    """
    timestamp = timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp
    ns = (timestamp - EPOCH) // timedelta(microseconds=1) * 1000
    if not -(2**63) <= ns < 2**63:
        raise BadInput(f"{name} must be between the years 1678 and 2261, found {timestamp.isoformat()}")
    return ns


def json_value(value: Any) -> Any:
    """Convert a `Decimal` to a JSON number and return other values unchanged."""
    return number(value) if isinstance(value, Decimal) else value
