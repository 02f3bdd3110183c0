"""Download bars of a provider into the catalogue: one request period per symbol and month, each stored before the next.

A month that the same provider has delivered completely is not requested again. A download that is killed, or that ends
with an error, therefore continues where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dataflows.research.catalog_import import bar_table
from dataflows.sources.bar_grid import BarGrid
from dataflows.sources.catalog.bar_catalog import (
    AddedBars,
    BarCatalog,
    CatalogMonth,
    CatalogOrigin,
    month_bounds_ns,
    month_of,
)
from dataflows.sources.market.bar_history import HistoricalBar, HistoricalBars, Throttled
from dataflows.sources.row_times import LocalTimeZone, day_text
from dataflows.sources.trading_calendar import TradingCalendar
from operators.bar_completion import DAY_S, HALF_HOUR_S, Calendar, FeedSettings, interval_text
from schemas.counted import counted
from schemas.errors import BadInput, Unavailable

ATTEMPTS_MAX = 4
THROTTLED_ATTEMPTS_MAX = 20
RETRY_S = 1.0
THROTTLED_S = 15.0
SETTLING_NS = 15 * 60 * 1_000_000_000
"""Bars that ended less than this before now can still change, and are not requested."""
_DAY_NS = DAY_S * 1_000_000_000


class DownloadPeriod(NamedTuple):
    """A period that opens in one month, of one symbol."""

    symbol: str
    start_ns: int
    end_ns: int


class DownloadedSymbol(NamedTuple):
    """What a download did for a symbol. `gaps` says which sessions have no bar; "" if none is missing."""

    symbol: str
    added: AddedBars
    requests: int
    gaps: str


class BarDownload:
    """Downloads bars of one interval from one provider.

    `source` names the provider and its data, such as `alpaca iex`. `on_wait` receives the reason and the seconds of
    each wait, `on_period` each period that is stored.
    """

    def __init__(
        self,
        catalog: BarCatalog,
        history: HistoricalBars,
        source: str,
        interval_s: int,
        calendar: Calendar = "XNYS",
        *,
        requests_per_minute: float | None = None,
        on_wait: Callable[[str, float], None] = lambda reason, seconds: None,
        on_period: Callable[[DownloadPeriod], None] = lambda period: None,
        sleep: Callable[[float], None] = time.sleep,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        check_download_interval(interval_s, calendar)
        self._catalog, self._history, self._source = catalog, history, source
        self._interval_s, self._calendar = interval_s, calendar
        self._pause_s = 0.0 if requests_per_minute is None else 60 / requests_per_minute
        self._on_wait, self._on_period, self._sleep, self._now_ns = on_wait, on_period, sleep, now_ns
        self._is_first = True

    def periods(self, symbol: str, start_ns: int, end_ns: int) -> list[DownloadPeriod]:
        """Return what is to be requested of [start_ns, end_ns), oldest first, without bars that can still change."""
        step_ns = self._interval_s * 1_000_000_000
        end_ns = min(end_ns, (self._now_ns() - SETTLING_NS) // step_ns * step_ns)
        months = {one.month: one for one in self._catalog.months(interval_text(self._interval_s), symbol)}
        return [
            DownloadPeriod(symbol, first, last)
            for month, first, last in _month_periods(start_ns, end_ns)
            for first, last in _uncovered(months.get(month), self._source, first, last)
        ]

    def run(self, symbol: str, start_ns: int, end_ns: int) -> DownloadedSymbol:
        """Download what is missing of a symbol. When this returns, it is on the disk.

        Raises BadInput if the provider has no bar at all, and Unavailable if it fails several times in a row; what was
        stored before remains.
        """
        added, requests, empty = AddedBars(), 0, list[DownloadPeriod]()
        for period in self.periods(symbol, start_ns, end_ns):
            bars = self._fetch(period)
            requests += 1
            if not bars and not added.new + added.changed + added.same:
                empty.append(period)  # stored only if the symbol exists
                continue
            for pending in empty:
                added = added.plus(self._store(pending, []))
            empty = []
            added = added.plus(self._store(period, bars))
        interval = interval_text(self._interval_s)
        if empty and not any(one.rows for one in self._catalog.months(interval, symbol)):
            raise BadInput(
                f"{self._source} has no bars of {interval} of symbol {symbol!r} in this period; check symbol and dates"
            )
        for pending in empty:
            added = added.plus(self._store(pending, []))
        return DownloadedSymbol(symbol, added, requests, self._gaps(symbol, start_ns, end_ns))

    def _fetch(self, period: DownloadPeriod) -> list[HistoricalBar]:
        """Request the bars of a period, again after a failure or when the provider limits the requests."""
        failures = throttled = 0
        while True:
            if not self._is_first and self._pause_s:
                self._sleep(self._pause_s)
            self._is_first = False
            try:
                bars = self._history.download(period.symbol, self._interval_s, period.start_ns, period.end_ns)
                return [bar for bar in bars if period.start_ns <= bar.open_ns < period.end_ns]
            except Throttled as error:
                throttled += 1
                if throttled == THROTTLED_ATTEMPTS_MAX:
                    raise _interrupted(error, period) from error
                self._wait(str(error), THROTTLED_S if error.retry_after_s is None else error.retry_after_s)
            except Unavailable as error:
                failures += 1
                if failures == ATTEMPTS_MAX:
                    raise _interrupted(error, period) from error
                self._wait(str(error), RETRY_S * 2 ** (failures - 1))

    def _wait(self, reason: str, seconds: float) -> None:
        self._on_wait(reason, seconds)
        self._sleep(seconds)

    def _store(self, period: DownloadPeriod, bars: Sequence[HistoricalBar]) -> AddedBars:
        opens = self._opens(period, bars)
        rows = [(open_ns, period.symbol, *bar[1:]) for open_ns, bar in zip(opens, bars, strict=True)]
        origin = CatalogOrigin(self._source, self._calendar, self._now_ns(), period.start_ns, period.end_ns)
        added = self._catalog.add(interval_text(self._interval_s), period.symbol, bar_table(rows), origin)
        self._on_period(period)
        return added

    def _opens(self, period: DownloadPeriod, bars: Sequence[HistoricalBar]) -> list[int]:
        """Return the opens of the bars on the grid of the feed: a daily bar opens with its session."""
        settings = FeedSettings(calendar=self._calendar, bar_interval=interval_text(self._interval_s))
        times = np.array([bar.open_ns for bar in bars], np.int64)
        opens, on_grid = BarGrid(settings, LocalTimeZone(settings.timezone)).opens_ns(times)
        if not on_grid.all() or len(np.unique(opens)) < len(opens):
            raise Unavailable(
                f"{self._source} returned bars of {period.symbol} in {month_of(period.start_ns)} that are not bars of "
                f"{interval_text(self._interval_s)}; nothing of this month was stored"
            )
        return [int(open_ns) for open_ns in opens]

    def _gaps(self, symbol: str, start_ns: int, end_ns: int) -> str:
        """Return in words which sessions between the first and the last bar of the period have no bar."""
        months = [
            one
            for one in self._catalog.months(interval_text(self._interval_s), symbol)
            if one.rows and one.last_ns >= start_ns and one.first_ns < end_ns
        ]
        times = self._catalog.read(interval_text(self._interval_s), symbol, months)["time"].cast("int64").to_numpy()
        times = times[(times >= start_ns) & (times < end_ns)]
        if not len(times):
            return ""
        calendar = TradingCalendar(self._calendar)
        found = {calendar.date_of(int(ns)) for ns in np.unique(times // (_DAY_NS // 24)) * (_DAY_NS // 24)}
        sessions = calendar.regular_sessions(int(times[0]), int(times[-1]))
        missing = [one.trading_day for one in sessions if one.trading_day not in found]
        if not missing:
            return ""
        days = counted(len(missing), "session has", "sessions have")
        return f"{days} no bar, the first one {day_text(missing[0])}"


def check_download_interval(interval_s: int, calendar: Calendar) -> None:
    """Raise BadInput for an interval whose bars do not start where the platform's bars do."""
    is_minutes = interval_s % 60 == 0 and 0 < interval_s <= HALF_HOUR_S and HALF_HOUR_S % interval_s == 0
    is_round_the_clock = calendar == "24/7" and interval_s % 3600 == 0 and DAY_S % interval_s == 0
    if not (is_minutes or is_round_the_clock or interval_s == DAY_S):
        raise BadInput(
            f"--interval must be 1m, 5m, 15m, 30m or 1d, found {interval_text(interval_s)}: hourly bars of providers "
            "start on the hour, and those of a session at its open"
        )


def _month_periods(start_ns: int, end_ns: int) -> Iterator[tuple[str, int, int]]:
    """Yield each month of a period, with the part of the period in it."""
    while start_ns < end_ns:
        month = month_of(start_ns)
        next_ns = month_bounds_ns(month)[1]
        yield month, start_ns, min(next_ns, end_ns)
        start_ns = next_ns


def _uncovered(known: CatalogMonth | None, source: str, start_ns: int, end_ns: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a period that a source has not delivered yet."""
    if known is None or known.covered_by != source or known.covered_to_ns <= known.covered_from_ns:
        yield start_ns, end_ns
        return
    if start_ns < known.covered_from_ns:
        yield start_ns, min(end_ns, known.covered_from_ns)
    if end_ns > known.covered_to_ns:
        yield max(start_ns, known.covered_to_ns), end_ns


def _interrupted(error: Unavailable, period: DownloadPeriod) -> Unavailable:
    return Unavailable(
        f"{error}; the download stopped at {period.symbol} {month_of(period.start_ns)}, and continues there when you "
        "start it again"
    )
