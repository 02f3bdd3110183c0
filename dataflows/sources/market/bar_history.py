"""Historical bars of a provider for a download: the interface, and what all providers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol

from dataflows.sources.market.provider import checked_row
from schemas.errors import InvalidField, Unavailable

TOO_MANY_REQUESTS = 429
RETRY_AFTER_S_MAX = 900.0


class HistoricalBar(NamedTuple):
    """One bar as the provider sends it, unadjusted. `open_ns` is the start of the bar, of a day often midnight."""

    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class HistoricalBars(Protocol):
    """A provider of historical bars."""

    def download(self, symbol: str, interval_s: int, start_ns: int, end_ns: int) -> list[HistoricalBar]:
        """Return all bars of a symbol that open in [start_ns, end_ns), oldest first; none if it has none.

        Blocks. Raises Throttled if the provider limits the requests, and Unavailable for every other failure, also for
        a response that is malformed or incomplete.
        """
        ...


class Throttled(Unavailable):
    """The provider limits the requests. `retry_after_s` is the wait that it asks for; None: it does not say."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def historical_bars(
    provider: str, symbol: str, bars: Iterable[Any], open_ns: Callable[[Any], int]
) -> list[HistoricalBar]:
    """Convert bars with the fields o, h, l, c and v. Raises Unavailable for a malformed bar and for a wrong order."""
    rows: list[HistoricalBar] = []
    for bar in bars:
        try:
            row = HistoricalBar(open_ns(bar), *checked_row(symbol, bar)[1:])
        except InvalidField as error:
            raise Unavailable(f"{provider} returned a malformed bar of {symbol}: {error}") from error
        if rows and row.open_ns <= rows[-1].open_ns:
            raise Unavailable(f"{provider} returned bars of {symbol} that are not in order of time")
        rows.append(row)
    return rows


def retry_after_s(headers: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Return the wait in the header `Retry-After`, in seconds or as a date; None without a usable one.

    >>> retry_after_s({"Retry-After": "7"}), retry_after_s({})
    (7.0, None)
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = (parsedate_to_datetime(text) - now()).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)
