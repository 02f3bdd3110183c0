"""Longer bars from shorter ones, aligned to the session."""

from __future__ import annotations

from typing import Any

from operators.trading.intervals import DAY_NS, WEEK_NS
from operators.trading.sessions import SessionBounds, week_number
from schemas.records import CONTINUOUS, REGULAR, Bar

_FULL_SESSIONS = (REGULAR, CONTINUOUS)


class BarResampler:
    """Combine the bars of one symbol into bars of `interval_ns`.

    Intraday bars start at the open of their session and end with it at the latest: of a session from 9:30 to 16:00, the
    bars of one hour start at 9:30, 10:30 …, and the last one ends at 16:00. Bars of one day or one week combine the
    regular session, or all 24 hours of a continuous one; a week starts on Monday.

    Open, high, low and close are those of the trades: a minute without a trade changes nothing. A bar without any trade
    has the last close as its four prices, and `traded` is False. `ts_ns` is the end of the bar. A bar closes with the
    shorter bar that ends it, or with the first one after it.
    """

    __slots__ = ("_bar", "_end_ns", "_key", "interval_ns", "seq")

    def __init__(self, interval_ns: int) -> None:
        self.interval_ns = interval_ns
        self.seq = 0  # number of closed bars
        self._key: tuple[int, ...] = ()
        self._bar: Bar | None = None  # the bar that is not closed yet
        self._end_ns: int | None = None

    def update(self, bar: Bar, bounds: SessionBounds, *, ends_week: bool = False) -> list[Bar]:
        """Add a bar of a session with these `bounds`. Return the bars that it closes, oldest first.

        `ends_week` is whether the session is the last one of its week.
        """
        interval = self.interval_ns
        if interval >= DAY_NS and bar.session not in _FULL_SESSIONS:
            ended = self._bar is not None and bar.open_ns >= self._bar.ts_ns and bar.trading_day >= self._key[0]
            return [self._close_bar()] if ended and interval == DAY_NS else []
        key, start, end = self._bin(bar, bounds, ends_week=ends_week)
        closed: list[Bar] = []
        if self._bar is not None and key != self._key:
            closed.append(self._close_bar())
        self._key, self._end_ns = key, end
        self._bar = bar._replace(open_ns=start) if self._bar is None else _combine(self._bar, bar)
        if end is not None and bar.ts_ns >= end:
            closed.append(self._close_bar())
        return closed

    def _bin(self, bar: Bar, bounds: SessionBounds, *, ends_week: bool) -> tuple[tuple[int, ...], int, int | None]:
        """Return what identifies the longer bar that contains this one, its start, and its end if it is known."""
        interval = self.interval_ns
        if interval == WEEK_NS:
            return (week_number(bar.trading_day),), bounds.open_ns, bounds.close_ns if ends_week else None
        if interval == DAY_NS:
            return (bar.trading_day,), bounds.open_ns, bounds.close_ns
        start = bar.open_ns - (bar.open_ns - bounds.open_ns) % interval
        end = start + interval
        if bounds.close_ns is not None and start < bounds.close_ns:
            end = min(end, bounds.close_ns)
        return (start,), start, end

    def _close_bar(self) -> Bar:
        """Close the bar and return it."""
        bar = self._bar
        assert bar is not None, "no bar to close"
        self.seq += 1
        self._bar = None
        end = bar.ts_ns if self._end_ns is None else self._end_ns
        return bar._replace(seq=self.seq, ts_ns=end)

    def rescale(self, factor: float) -> None:
        """Convert the open bar after a split: multiply its prices by `factor`, divide its volume by it."""
        if (bar := self._bar) is not None:
            self._bar = scale_bar(bar, factor)

    def snapshot(self) -> Any:
        return (self.seq, self._key, None if self._bar is None else tuple(self._bar), self._end_ns)

    def restore(self, snapshot: Any) -> None:
        self.seq, key, bar, self._end_ns = snapshot
        self._key = tuple(key)
        self._bar = None if bar is None else Bar(*bar)


def scale_bar(bar: Bar, factor: float) -> Bar:
    """Return a bar in the shares after a split: prices times `factor`, volume divided by it."""
    return bar._replace(
        open=bar.open * factor,
        high=bar.high * factor,
        low=bar.low * factor,
        close=bar.close * factor,
        volume=bar.volume / factor,
    )


def _combine(first: Bar, second: Bar) -> Bar:
    """Add a shorter bar to an open longer one."""
    if not second.traded:
        if first.traded:
            return first._replace(ts_ns=second.ts_ns)
        close = second.close
        return first._replace(ts_ns=second.ts_ns, open=close, high=close, low=close, close=close)
    if not first.traded:
        return second._replace(open_ns=first.open_ns)
    return first._replace(
        ts_ns=second.ts_ns,
        high=max(first.high, second.high),
        low=min(first.low, second.low),
        close=second.close,
        volume=first.volume + second.volume,
        trading_day=second.trading_day,
    )
