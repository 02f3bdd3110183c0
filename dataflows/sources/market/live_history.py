"""The bars that providers have before the start of a live feed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from dataflows.sources.market.provider import Provider
from dataflows.sources.trading_calendar import TradingCalendar
from operators.bar_completion import MinuteCompletion
from schemas.records import Bar


class LiveHistory(NamedTuple):
    """Bars, oldest first, and the name of the provider that returned them; "" if none returned any."""

    provider: str
    bars: list[Bar]


def load_history(
    providers: Sequence[Provider],
    calendar: TradingCalendar,
    end_ns: int,
    interval_ns: int,
    count: int,
    symbols: Collection[str],
) -> LiveHistory:
    """Return the bars of `symbols` in the last `count` open intervals before `end_ns`, from the first provider that has
    any. As in the feed, an interval without a trade repeats the last close. Blocks until the providers have responded.
    """
    minutes = calendar.minutes_before(end_ns, interval_ns, count)
    for provider in providers if minutes else ():
        rows_by_open = provider.history(minutes[0].open_ns, end_ns, adjusted=True)
        completion = MinuteCompletion()
        bars: list[Bar] = []
        for minute in minutes:
            rows = rows_by_open.get(minute.open_ns, {})
            bars += completion.complete(minute, [row for symbol, row in rows.items() if symbol in symbols])
        if bars:
            return LiveHistory(provider.name, bars)
    return LiveHistory("", [])
