"""Complete each minute to one bar per known symbol, with or without a trade.

The caller supplies the intervals and their sessions (`dataflows/sources/trading_calendar.py`). "Minute" means any
`bar_interval_s`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.errors import BadInput
from schemas.records import Bar

CALENDARS = ("XNYS", "24/7")
SNAPSHOT_VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Minute(NamedTuple):
    """One open interval `[open_ns, ts_ns)` of the calendar. `trading_day` is the session's date as yyyymmdd."""

    open_ns: int
    ts_ns: int
    session: str  # PRE REGULAR POST CONTINUOUS
    trading_day: int


class MinuteRow(NamedTuple):
    """The trades of one symbol in one minute, validated (prices > 0, low <= open, close <= high, volume >= 0)."""

    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, kw_only=True)
class FeedSettings:
    """How to read a feed of bars. Raises BadInput for any other value.

    calendar        "XNYS" or "24/7"
    session         "extended" (pre-market, regular and post-market) or "regular"
    bar_interval_s  length of a bar in seconds
    timezone        IANA zone of times without a zone
    time_is         whether a row's time is the "open" or the "close" of its bar
    symbols         symbols to read; None: all
    start, end      ISO date or time; rows whose bar opens in [start, end) are read
    """

    calendar: str = "XNYS"
    session: str = "extended"
    bar_interval_s: int = 60
    timezone: str = "UTC"
    time_is: str = "open"
    symbols: tuple[str, ...] | None = None
    start: str | None = None
    end: str | None = None

    def __post_init__(self) -> None:
        _one_of("calendar", self.calendar, CALENDARS)
        _one_of("session", self.session, ("extended", "regular"))
        _one_of("time_is", self.time_is, ("open", "close"))
        # XNYS sessions start and end on half hours, 24/7 days at midnight. The interval must divide both.
        tile_s = 1800 if self.calendar == "XNYS" else 86400
        if self.bar_interval_s < 1 or tile_s % self.bar_interval_s:
            raise BadInput(
                f"setting bar_interval_s must divide {tile_s} for calendar {self.calendar}, found {self.bar_interval_s}"
            )
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise BadInput(f"setting timezone must be an IANA time zone, found {self.timezone!r}") from error
        if self.start_ns is not None and self.end_ns is not None and self.start_ns >= self.end_ns:
            raise BadInput(f"setting start must be before end, found {self.start} and {self.end}")

    @property
    def interval_ns(self) -> int:
        return self.bar_interval_s * 1_000_000_000

    @property
    def start_ns(self) -> int | None:
        return _parse_time_ns("start", self.start, self.timezone)

    @property
    def end_ns(self) -> int | None:
        return _parse_time_ns("end", self.end, self.timezone)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise BadInput(f"setting {name} must be one of {', '.join(allowed)}, found {value!r}")


def _parse_time_ns(name: str, text: str | None, zone: str) -> int | None:
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"setting {name} must be an ISO date or time, found {text!r}") from error
    since_epoch = (parsed if parsed.tzinfo else parsed.replace(tzinfo=ZoneInfo(zone))) - _EPOCH
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000_000 + since_epoch.microseconds * 1000


class MinuteCompletion:
    """Complete each minute. Every symbol that has ever traded gets a bar; without a trade, it repeats the last close.

    The state is one `(seq, last close)` per symbol, so it is bounded by the number of symbols.

    >>> completion = MinuteCompletion()
    >>> one = completion.complete(Minute(0, 60, "REGULAR", 20131007), [MinuteRow("A", 1.0, 2.0, 1.0, 1.5, 10.0)])
    >>> completion.complete(Minute(60, 120, "REGULAR", 20131007), [])[0][1:]
    (2, 120, 60, 1.5, 1.5, 1.5, 1.5, 0.0, 'REGULAR', 20131007, False)
    """

    def __init__(self) -> None:
        # symbol -> [seq, last close], in order of symbol, which is the order of the output.
        self._states: dict[str, list[Any]] = {}

    def complete(self, minute: Minute, rows: Iterable[tuple[str, float, float, float, float, float]]) -> list[Bar]:
        """Return the minute's bars in order of symbol. `rows` are `MinuteRow`s or equivalent tuples, one per symbol."""
        states = self._states
        rows_by_symbol = {row[0]: row for row in rows}
        new_symbols = rows_by_symbol.keys() - states.keys()
        if new_symbols:
            states.update((symbol, [0, 0.0]) for symbol in new_symbols)
            self._states = states = dict(sorted(states.items()))
        open_ns, ts_ns, session, day = minute
        bars: list[Bar] = []
        # Hot path: tuple.__new__ skips the argument handling of Bar(...), a third of the cost.
        construct = tuple.__new__
        for symbol, state in states.items():
            state[0] = seq = state[0] + 1
            row = rows_by_symbol.get(symbol)
            if row is None:
                close = state[1]
                values = (symbol, seq, ts_ns, open_ns, close, close, close, close, 0.0, session, day, False)
            else:
                _, open_price, high, low, close, volume = row
                state[1] = close
                values = (symbol, seq, ts_ns, open_ns, open_price, high, low, close, volume, session, day, True)
            bars.append(construct(Bar, values))
        return bars

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the state as `{"v": 1, "symbols": {symbol: (seq, last close)}}`."""
        return {"v": SNAPSHOT_VERSION, "symbols": {symbol: tuple(state) for symbol, state in self._states.items()}}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Restore the state from a `snapshot()`."""
        version = snapshot["v"]
        assert version == SNAPSHOT_VERSION, f"bar completion snapshot: version {version}, expected {SNAPSHOT_VERSION}"
        self._states = {symbol: list(state) for symbol, state in sorted(snapshot["symbols"].items())}
