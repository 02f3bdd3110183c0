"""The bars and trades of files before the start of a feed, for the warm-up of indicators and strategies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

import structlog

from dataflows.sources.file_feed import FileFeed, FileHistory
from dataflows.sources.trading_calendar import DAY_NS, TradingCalendar
from operators.bar_completion import FeedSettings, Minute
from operators.history_bars import TRADES_MAX, History, add_history_trades, history_bars
from operators.time_text import iso
from operators.trading.event_bars import bar_of_trade
from schemas.records import Bar, CorporateAction, Record, Trade

log = structlog.get_logger(__name__)

QUIET_NS = 10 * DAY_NS
"""Time before the first bar of the history from which the files are read, to find the last trade of quiet symbols."""


def file_history(
    open_feed: Callable[[FeedSettings], FileFeed], count: int, *, with_trades: bool = False
) -> FileHistory:
    """Return a function that reads the last `count` bars of each symbol before a time slice of a feed.

    They are the bars that a feed without a start would have there, in the shares and under the symbols of the time
    slice. `open_feed` opens the same files and their reference data with other settings. `with_trades`: the feed also
    has trades, and the history contains those in the time of its bars.
    """

    def read(first: Minute, records: Sequence[Record], settings: FeedSettings) -> list[History]:
        assert settings.interval_s is not None and settings.session != "auto", "the settings are resolved"
        calendar = TradingCalendar(settings.calendar, settings.session)
        window = calendar.minutes_before(first.open_ns, settings.interval_s * 1_000_000_000, count)
        from_ns = window[0].open_ns - QUIET_NS
        earlier = takewhile(lambda t: t.ts_ns < first.ts_ns, open_feed(replace(settings, start=iso(from_ns))))
        bars: list[Bar] = []
        trades = EarlierTrades(window[0].open_ns, first.open_ns)
        actions: list[Record] = []
        for time_slice in earlier:
            bars += [record for record in time_slice.records if type(record) is Bar]
            actions += [record for record in time_slice.records if type(record) is CorporateAction]
            if with_trades:
                trades.add(time_slice.records)
        action_ids = {action.action_id for action in actions if type(action) is CorporateAction}
        actions += [r for r in records if type(r) is CorporateAction and r.action_id not in action_ids]
        history = history_bars(bars, actions, first.ts_ns, first.trading_day, count)
        if not history:
            log.info("no bars before the start: indicators and strategies warm up from the first bar")
        if not with_trades:
            return [*history]
        if not trades.found:
            log.info("no trades before the start: bars of trades warm up from the first trade")
        return add_history_trades(history, trades.found, actions, first.ts_ns, first.trading_day)

    return read


class EarlierTrades:
    """The last trades of each symbol from `from_ns` until before `until_ns`, as bars with one price."""

    def __init__(self, from_ns: int, until_ns: int) -> None:
        self._from_ns, self._until_ns = from_ns, until_ns
        self._by_symbol: dict[str, deque[Bar]] = {}
        self._last_bar: Bar | None = None

    def add(self, records: Sequence[Record]) -> None:
        """Add the trades of a time slice. They belong to the trading day of its bars, or of the last ones."""
        self._last_bar = next((record for record in records if type(record) is Bar), self._last_bar)
        if self._last_bar is None:
            return
        phase, day = self._last_bar.session, self._last_bar.trading_day
        for record in records:
            if type(record) is Trade and self._from_ns <= record.ts_ns < self._until_ns:
                trades = self._by_symbol.setdefault(record.symbol, deque(maxlen=TRADES_MAX))
                trades.append(bar_of_trade(record, phase, day))

    @property
    def found(self) -> list[Bar]:
        """The trades, by symbol in the order of their time."""
        return [trade for trades in self._by_symbol.values() for trade in trades]
