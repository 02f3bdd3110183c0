"""What a provider of live market data is to the feed, and what all of them check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from operators.bar_completion import Minute, MinuteRow
from schemas.errors import InvalidField

SECOND_NS, MILLI_NS = 1_000_000_000, 1_000_000
MINUTES_KEPT = 10
RAW_MAX = 500


class QuoteSeen(NamedTuple):
    """The best bid and offer of one symbol."""

    symbol: str
    bid: float
    ask: float
    bid_size: float
    ask_size: float


class TradeSeen(NamedTuple):
    """One print; `ts_ns` is the exchange's time."""

    symbol: str
    ts_ns: int
    price: float
    size: float


class SetAside(NamedTuple):
    """A message that could not be taken in: when it came, why, and its first bytes."""

    at_ns: int
    reason: str
    raw: bytes


Rows = dict[str, MinuteRow]
"""Bars of one minute by symbol."""

Past = Callable[[int, int], dict[int, Rows]]
"""Bars by their open in [first_open_ns, end_ns). May block; raises Unavailable where there is no answer."""


class Provider(Protocol):
    """None of the calls may block for longer than a moment but `history`, which is asked at a start."""

    name: str

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def unwell(self, minute: Minute, now_ns: int) -> str:
        """Why its bars of the minute that is being closed cannot be relied on, "" where they can."""
        ...

    def rows(self, minute: Minute) -> Rows:
        """What is known of the minute's bars by now."""
        ...

    def seen(self) -> tuple[list[QuoteSeen], list[TradeSeen]]:
        """Quotes and trades since the last call, oldest first."""
        ...

    def set_aside(self) -> list[SetAside]:
        """What could not be taken in since the last call; of very many only some."""
        ...

    def history(self, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
        """Bars by their open in [first_open_ns, end_ns); empty where there is none or no answer."""
        ...


def checked_row(symbol: str, bar: Mapping[str, Any]) -> MinuteRow:
    """The row of a bar with fields o, h, l, c and v, as Alpaca and Polygon both call them.

    Raises InvalidField for what cannot be a bar.
    """
    values = [number(bar, name) for name in ("o", "h", "l", "c", "v")]
    first, high, low, close, volume = values
    if not (0.0 < low <= first <= high and low <= close <= high < float("inf") and 0.0 <= volume < float("inf")):
        raise InvalidField(f"a bar of {symbol} needs 0 < l <= o, c <= h and v >= 0, found o h l c v {values}")
    return MinuteRow(symbol, first, high, low, close, volume)


def number(message: Mapping[str, Any], name: str) -> float:
    """A field's number. Raises InvalidField."""
    found = message.get(name)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise InvalidField(f"field {name} must be a number, found {found!r}"[:200])
    try:
        return float(found)
    except OverflowError as error:
        raise InvalidField(f"field {name} is too large for a number") from error
