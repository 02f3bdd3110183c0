"""Interface of live market data providers, and the checks that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from operators.bar_completion import Minute, MinuteRow
from schemas.errors import InvalidField
from schemas.records import TradingStatus

SECOND_NS, MILLI_NS = 1_000_000_000, 1_000_000
MINUTES_RETAINED = 10
RAW_BYTES_MAX = 500


class QuoteUpdate(NamedTuple):
    """The best bid and offer of one symbol."""

    symbol: str
    bid: float
    ask: float
    bid_size: float
    ask_size: float


class TradePrint(NamedTuple):
    """One trade; `ts_ns` is the exchange's time."""

    symbol: str
    ts_ns: int
    price: float
    size: float


class RejectedMessage(NamedTuple):
    """A rejected message: when it arrived, why it was rejected, and its first bytes."""

    at_ns: int
    reason: str
    raw: bytes


RowsBySymbol = dict[str, MinuteRow]
"""Bars of one minute by symbol."""

FetchHistory = Callable[[int, int], dict[int, RowsBySymbol]]
"""Returns bars by their open in [first_open_ns, end_ns). May block; raises Unavailable if there is no response."""


class Provider(Protocol):
    """A provider of live market data. No method blocks, except `history`, which runs at a start."""

    name: str

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def unhealthy_reason(self, minute: Minute, now_ns: int) -> str:
        """Return why the bars of the closing minute are unreliable, or "" if they are reliable."""
        ...

    def rows(self, minute: Minute) -> RowsBySymbol:
        """Return the bars of the minute received so far."""
        ...

    def drain_updates(self) -> tuple[list[QuoteUpdate], list[TradePrint]]:
        """Return quotes and trades since the last call, oldest first."""
        ...

    def drain_statuses(self) -> list[TradingStatus]:
        """Return halts and resumptions since the last call, oldest first."""
        ...

    def drain_rejected(self) -> list[RejectedMessage]:
        """Return messages rejected since the last call, up to a limit."""
        ...

    def history(self, first_open_ns: int, end_ns: int, *, adjusted: bool = False) -> dict[int, RowsBySymbol]:
        """Return bars by their open in [first_open_ns, end_ns); empty if there is none or no response.

        With `adjusted`, they are in the shares of today: splits up to today are included.
        """
        ...


def checked_row(symbol: str, bar: Mapping[str, Any]) -> MinuteRow:
    """Return the row of a bar with fields o, h, l, c and v, as Alpaca and Polygon name them.

    Raises InvalidField if a field is missing or inconsistent.
    """
    values = [number_field(bar, name) for name in ("o", "h", "l", "c", "v")]
    open_price, high, low, close, volume = values
    if not (0.0 < low <= open_price <= high and low <= close <= high < float("inf") and 0.0 <= volume < float("inf")):
        raise InvalidField(f"a bar of {symbol} needs 0 < l <= o, c <= h and v >= 0, found o h l c v {values}")
    return MinuteRow(symbol=symbol, open=open_price, high=high, low=low, close=close, volume=volume)


def number_field(message: Mapping[str, Any], name: str) -> float:
    """Return a field's number. Raises InvalidField."""
    value = message.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidField(f"field {name} must be a number, found {value!r}"[:200])
    try:
        return float(value)
    except OverflowError as error:
        raise InvalidField(f"field {name} is too large for a number") from error
