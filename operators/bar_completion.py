"""Complete each minute to one bar per known symbol, with or without a trade.

The caller supplies the intervals and their sessions (`dataflows/sources/trading_calendar.py`). "Minute" means any
`bar_interval_s`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from operators.adjusted_prices import split_price
from operators.ledger.events import share_ratio
from operators.reference_data import is_valid_action, split_merger
from schemas.errors import BadInput
from schemas.records import DELISTING, SYMBOL_CHANGE, Bar, CorporateAction, Record, SessionPhase

Calendar = Literal["XNYS", "24/7"]
Sessions = Literal["extended", "regular"]
FileSessions = Literal["auto", "extended", "regular"]
TimeOfRow = Literal["open", "close"]
DateOrder = Literal["auto", "mdy", "dmy"]
DecimalMark = Literal[".", ","]
VolumeColumn = Literal["reported", "none"]
SNAPSHOT_VERSION = 2
NO_CLOSE = 0.0
"""Last close of a symbol that no longer exists."""
OPENING_PRICE_SEQ: Final = 0
"""`seq` of a bar that only supplies a price before a symbol's first bar, in a backtest with orders. Indicators and
trading strategies skip it, because it covers no interval.
"""
DAY_S, HALF_HOUR_S = 86_400, 1800
XNYS_LONG_INTERVALS_S = (3600, 7200, 14_400, DAY_S)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": DAY_S}
_INTERVAL = re.compile(r"([1-9]\d{0,5})([smhd])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Minute(NamedTuple):
    """One open interval `[open_ns, ts_ns)` of the calendar. `trading_day` is the session's date as yyyymmdd."""

    open_ns: int
    ts_ns: int
    session: SessionPhase
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
class BarSettings:
    """Which bars a feed has. Raises BadInput for any other value.

    calendar        trading calendar of the bars
    session         "extended" (pre-market, regular and post-market) or "regular"
    bar_interval_s  length of a bar in seconds
    """

    calendar: Calendar = "XNYS"
    session: Sessions = "extended"
    bar_interval_s: int = 60

    def __post_init__(self) -> None:
        _one_of("calendar", self.calendar, get_args(Calendar))
        _one_of("session", self.session, get_args(Sessions))
        check_interval_s(self.bar_interval_s, self.calendar)

    @property
    def interval_ns(self) -> int:
        return self.bar_interval_s * 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class FeedSettings:
    """How to read files of bars. Raises BadInput for any other value.

    calendar        trading calendar of the bars
    session         "extended" (pre-market, regular and post-market), "regular", or "auto": regular if no row lies in
                    the pre- or post-market
    bar_interval    length of a bar, such as "1m", "1h" or "1d"; "auto": recognized from the rows
    bar_interval_s  length of a bar in place of `bar_interval`; None: as `bar_interval`
    timezone        IANA zone of times without a zone
    time_is         whether a row's time is the "open" or the "close" of its bar
    date_order      order of dates such as 01/02/2024: "mdy" or "dmy"; "auto": only if the rows prove it
    decimal         decimal mark of the numbers, "." or ","
    volume          "reported": a row with volume 0 is an interval without a trade; "none": the vendor has no volume
    symbol          symbol of the files without a symbol column; None: from the file name
    symbols         symbols to read; None: all
    start, end      ISO date or time; rows whose bar opens in [start, end) are read
    """

    calendar: Calendar = "XNYS"
    session: FileSessions = "auto"
    bar_interval: str = "auto"
    bar_interval_s: int | None = None
    timezone: str = "UTC"
    time_is: TimeOfRow = "open"
    date_order: DateOrder = "auto"
    decimal: DecimalMark = "."
    volume: VolumeColumn = "reported"
    symbol: str | None = None
    symbols: tuple[str, ...] | None = None
    start: str | None = None
    end: str | None = None

    def __post_init__(self) -> None:
        _one_of("calendar", self.calendar, get_args(Calendar))
        _one_of("session", self.session, get_args(FileSessions))
        _one_of("time_is", self.time_is, get_args(TimeOfRow))
        _one_of("date_order", self.date_order, get_args(DateOrder))
        _one_of("decimal", self.decimal, get_args(DecimalMark))
        _one_of("volume", self.volume, get_args(VolumeColumn))
        interval_s = self.interval_s
        if interval_s is not None:
            check_interval_s(interval_s, self.calendar)
        if self.symbol is not None and not (self.symbol.strip() and self.symbol.isprintable()):
            raise BadInput(f"setting symbol must be a printable name, found {self.symbol!r}")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise BadInput(
                f"setting timezone must be an IANA time zone such as America/New_York, found {self.timezone!r}"
            ) from error
        if self.start_ns is not None and self.end_ns is not None and self.start_ns >= self.end_ns:
            raise BadInput(f"setting start must be before end, found {self.start} and {self.end}")

    @property
    def interval_s(self) -> int | None:
        """Return the set length of a bar in seconds, or None if it is recognized from the rows. Raises BadInput."""
        if self.bar_interval == "auto":
            return self.bar_interval_s
        seconds = parse_interval_s(self.bar_interval)
        if self.bar_interval_s not in (None, seconds):
            raise BadInput(
                f"settings bar_interval and bar_interval_s must agree, found {self.bar_interval} and "
                f"{self.bar_interval_s}"
            )
        return seconds

    @property
    def start_ns(self) -> int | None:
        return _parse_time_ns("start", self.start, self.timezone)

    @property
    def end_ns(self) -> int | None:
        return _parse_time_ns("end", self.end, self.timezone)


def parse_interval_s(text: str) -> int:
    """Return the seconds of a bar interval. Raises BadInput.

    >>> parse_interval_s("5m"), parse_interval_s("1d")
    (300, 86400)
    """
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise BadInput(
            f"setting bar_interval (--interval) must be auto or an interval such as 1m, 1h or 1d, found {text!r}"
        )
    return int(match[1]) * _UNITS_S[match[2]]


def interval_text(seconds: int) -> str:
    """Return an interval in its largest unit.

    >>> interval_text(300), interval_text(86400), interval_text(90)
    ('5m', '1d', '90s')
    """
    if not seconds:
        return "0s"
    return next(f"{seconds // size}{unit}" for unit, size in reversed(_UNITS_S.items()) if seconds % size == 0)


def check_interval_s(seconds: int, calendar: Calendar) -> None:
    """Raise BadInput if bars of this length do not fill the sessions of the calendar.

    XNYS sessions start and end on half hours, 24/7 days at midnight. Longer bars start at the start of their session.
    """
    tile_s, longer = (HALF_HOUR_S, XNYS_LONG_INTERVALS_S) if calendar == "XNYS" else (DAY_S, ())
    if seconds >= 1 and (tile_s % seconds == 0 or seconds in longer):
        return
    allowed = " or ".join([f"divide {interval_text(tile_s)}", *(["be 1h, 2h, 4h or 1d"] if longer else [])])
    raise BadInput(
        f"setting bar_interval (--interval) must {allowed} for calendar {calendar}, found {interval_text(seconds)}"
    )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise BadInput(f"setting {name} must be one of {', '.join(allowed)}, found {value!r}")


def _parse_time_ns(name: str, text: str | None, zone: str) -> int | None:
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"setting {name} must be an ISO date or time such as 2024-01-31, found {text!r}") from error
    since_epoch = (parsed if parsed.tzinfo else parsed.replace(tzinfo=ZoneInfo(zone))) - _EPOCH
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000_000 + since_epoch.microseconds * 1000


class MinuteCompletion:
    """Complete each minute. Every symbol that has ever traded gets a bar; without a trade, it repeats the last close.

    The state is one `(seq, last close)` per symbol, so it is bounded by the number of symbols. With `apply_actions`,
    the last close follows splits, and a renamed or delisted symbol gets no bar until it trades again.

    >>> completion = MinuteCompletion()
    >>> one = completion.complete(Minute(0, 60, "REGULAR", 20131007), [MinuteRow("A", 1.0, 2.0, 1.0, 1.5, 10.0)])
    >>> completion.complete(Minute(60, 120, "REGULAR", 20131007), [])[0][1:]
    (2, 120, 60, 1.5, 1.5, 1.5, 1.5, 0.0, 'REGULAR', 20131007, False)
    """

    def __init__(self) -> None:
        # symbol -> [seq, last close], in order of symbol, which is the order of the output.
        self._states: dict[str, list[Any]] = {}
        self._pending: list[CorporateAction] = []

    def apply_actions(self, records: Sequence[Record], trading_day: int) -> None:
        """Apply the corporate actions among `records` from their ex-date on. Call before the minute's `complete()`.

        A dividend changes no close: a bar without a trade repeats the last price that was paid.
        """
        self._pending += [
            part
            for record in records
            if type(record) is CorporateAction and is_valid_action(record)
            for part in split_merger(record)
            if isinstance(part, CorporateAction)
        ]
        due = [action for action in self._pending if action.ex_date <= trading_day]
        if not due:
            return
        self._pending = [action for action in self._pending if action.ex_date > trading_day]
        for action in due:
            state = self._states.get(action.symbol)
            if state is not None:
                gone = action.kind in (SYMBOL_CHANGE, DELISTING)
                state[1] = NO_CLOSE if gone else split_price(state[1], share_ratio(action)) if state[1] else NO_CLOSE

    def complete(self, minute: Minute, rows: Iterable[tuple[str, float, float, float, float, float]]) -> list[Bar]:
        """Return the minute's bars in order of symbol. `rows` are `MinuteRow`s or equivalent tuples, one per symbol."""
        states = self._states
        rows_by_symbol = {row[0]: row for row in rows}
        if not rows_by_symbol.keys() <= states.keys():
            states.update((symbol, [0, 0.0]) for symbol in rows_by_symbol.keys() - states.keys())
            self._states = states = dict(sorted(states.items()))
        open_ns, ts_ns, session, day = minute
        bars: list[Bar] = []
        # Hot path: tuple.__new__ skips the argument handling of Bar(...), a third of the cost.
        construct = tuple.__new__
        for symbol, state in states.items():
            row = rows_by_symbol.get(symbol)
            if row is None and not state[1]:
                continue
            state[0] = seq = state[0] + 1
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
        """Return a copy of the state: `{"v": 2, "symbols": {symbol: (seq, last close)}, "pending": actions}`."""
        return {
            "v": SNAPSHOT_VERSION,
            "symbols": {symbol: tuple(state) for symbol, state in self._states.items()},
            "pending": [tuple(action) for action in self._pending],
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Restore the state from a `snapshot()`. Version 1 contains no pending actions."""
        version = snapshot["v"]
        assert version in (1, SNAPSHOT_VERSION), f"bar completion snapshot: version {version}, expected 1 or 2"
        self._pending = [CorporateAction._make(values) for values in snapshot.get("pending", ())]
        self._states = {symbol: list(state) for symbol, state in sorted(snapshot["symbols"].items())}
