"""The bars of files before the start of a feed, for the warm-up of indicators and strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

import structlog

from dataflows.sources.file_feed import FileFeed, FileHistory
from dataflows.sources.trading_calendar import DAY_NS, TradingCalendar
from operators.bar_completion import FeedSettings, Minute
from operators.history_bars import history_bars
from operators.time_text import iso
from schemas.records import Bar, CorporateAction, HistoryBar, Record

log = structlog.get_logger(__name__)

QUIET_NS = 10 * DAY_NS
"""Time before the first bar of the history from which the files are read, to find the last trade of quiet symbols."""


def file_history(open_feed: Callable[[FeedSettings], FileFeed], count: int) -> FileHistory:
    """Return a function that reads the last `count` bars of each symbol before a time slice of a feed.

    They are the bars that a feed without a start would have there, in the shares and under the symbols of the time
    slice. `open_feed` opens the same files and their reference data with other settings.
    """

    def read(first: Minute, records: Sequence[Record], settings: FeedSettings) -> list[HistoryBar]:
        assert settings.interval_s is not None and settings.session != "auto", "the settings are resolved"
        calendar = TradingCalendar(settings.calendar, settings.session)
        window = calendar.minutes_before(first.open_ns, settings.interval_s * 1_000_000_000, count)
        from_ns = window[0].open_ns - QUIET_NS
        earlier = takewhile(lambda t: t.ts_ns < first.ts_ns, open_feed(replace(settings, start=iso(from_ns))))
        bars: list[Bar] = []
        actions: list[Record] = []
        for time_slice in earlier:
            bars += [record for record in time_slice.records if type(record) is Bar]
            actions += [record for record in time_slice.records if type(record) is CorporateAction]
        action_ids = {action.action_id for action in actions if type(action) is CorporateAction}
        actions += [r for r in records if type(r) is CorporateAction and r.action_id not in action_ids]
        history = history_bars(bars, actions, first.ts_ns, first.trading_day, count)
        if not history:
            log.info("no bars before the start: indicators and strategies warm up from the first bar")
        return history

    return read
