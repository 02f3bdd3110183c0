"""What a provider of live market data is to the feed."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from operators.minutes import Minute, MinuteRow


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


Rows = dict[str, MinuteRow]


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

    def history(self, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
        """Bars by their open in [first_open_ns, end_ns); empty where there is none or no answer."""
        ...
