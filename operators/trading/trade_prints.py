"""The trades of a time slice, ready for the bars that are built from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from operators.trading.event_bars import bar_of_trade
from operators.trading.intervals import MINUTE_NS, SECOND_NS
from operators.trading.sessions import SessionTimes
from schemas.records import CONTINUOUS, POST, PRE, REGULAR, Bar, SessionPhase, Trade

VERSION = 1
LATE_NS: Final = MINUTE_NS
"""A trade that is at least this much older than the previous time slice is discarded: its bar closed long ago."""
WAITING_MAX: Final = 100_000
"""Maximum number of trades that wait for the first bar of their day. The oldest ones are discarded."""
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_S = 86_400


class TradeSession(NamedTuple):
    """The session in which a trade took place."""

    phase: SessionPhase
    trading_day: int


class TradePrints:
    """Finds the session of each trade. Trades outside the feed's sessions are discarded.

    A trade waits for the first bar of its day, because corporate actions take effect with that bar. The trades of the
    first minute are therefore delivered with that bar. `days` are the trading hours by day; with `regular_only`, the
    feed has only the regular session.
    """

    def __init__(self, days: Mapping[int, SessionTimes], *, regular_only: bool) -> None:
        self._days, self._regular_only = days, regular_only
        self._last_ns: int | None = None  # the previous time slice
        self._newest: TradeSession | None = None  # of the newest bar
        self._waiting: list[Trade] = []

    def set_days(self, days: Mapping[int, SessionTimes]) -> None:
        """Use other trading hours from now on."""
        self._days = days

    def begin(self, bars: Sequence[Bar]) -> None:
        """Start a time slice with these bars of the feed."""
        for bar in bars:
            if self._newest is None or bar.trading_day >= self._newest.trading_day:
                self._newest = TradeSession(bar.session, bar.trading_day)

    def counted(self, trade: Trade) -> Bar | None:
        """Return a trade from before the start as a bar; None if it is outside the feed's sessions."""
        session = None if self._newest is None else self._session_of(trade.ts_ns, self._newest)
        if session is None or (self._regular_only and session.phase in (PRE, POST)):
            return None
        return bar_of_trade(trade, session.phase, session.trading_day)

    def pop_counted(self, ts_ns: int, bars: Sequence[Bar], trades: Sequence[Trade]) -> list[Bar]:
        """Return the trades that count in this time slice, as bars, by symbol and `seq`.

        Call for each time slice, after `begin`.
        """
        last_ns, self._last_ns = self._last_ns, ts_ns
        new = [one for one in trades if last_ns is None or one.ts_ns > last_ns - LATE_NS]
        if not new and not (bars and self._waiting):
            return []
        ready: list[Bar] = []
        waiting: list[Trade] = []
        for trade in sorted([*self._waiting, *new], key=lambda one: (one.symbol, one.seq)):
            if self._newest is None:
                waiting.append(trade)
                continue
            session = self._session_of(trade.ts_ns, self._newest)
            if session is None or (self._regular_only and session.phase in (PRE, POST)):
                continue
            if session.trading_day > self._newest.trading_day:
                waiting.append(trade)
            else:
                ready.append(bar_of_trade(trade, session.phase, session.trading_day))
        if len(waiting) > WAITING_MAX:
            waiting = sorted(waiting, key=lambda one: (one.ts_ns, one.symbol, one.seq))[-WAITING_MAX:]
        self._waiting = waiting
        return ready

    def _session_of(self, ts_ns: int, newest: TradeSession) -> TradeSession | None:
        """Return the session of a time; None if the exchange is closed all day. Without trading hours, the newest."""
        if newest.phase == CONTINUOUS:
            return TradeSession(CONTINUOUS, _day(ts_ns // SECOND_NS))
        known = self._days.get(newest.trading_day)
        if known is None:
            return newest
        times = self._days.get(_day(ts_ns // SECOND_NS + known.utc_offset_s))
        if times is None:
            return None
        if ts_ns < times.open_ns:
            return TradeSession(PRE, times.day)
        return TradeSession(REGULAR if ts_ns < times.close_ns else POST, times.day)

    def snapshot(self) -> Any:
        newest = None if self._newest is None else tuple(self._newest)
        return (VERSION, self._last_ns, newest, [tuple(trade) for trade in self._waiting])

    def restore(self, snapshot: Any) -> None:
        version, self._last_ns, newest, waiting = snapshot
        assert version == VERSION, f"trade prints snapshot: version {version}, expected {VERSION}"
        self._newest = None if newest is None else TradeSession(*newest)
        self._waiting = [Trade(*values) for values in waiting]


def _day(local_s: int) -> int:
    """Return the day (yyyymmdd) of a time in seconds.

    >>> _day(86_400 + 3600)
    19700102
    """
    one = date.fromordinal(_EPOCH_DAY + local_s // _DAY_S)
    return one.year * 10_000 + one.month * 100 + one.day
