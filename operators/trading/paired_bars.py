"""Pair the bars of each symbol with those of its benchmarks by time, for the statistics of pairs."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from operators.indicators.indicator import new_share_price
from operators.trading.intervals import Interval
from operators.trading.pair_statistics import PairSpec, PairStatistic
from operators.trading.symbol_market import SymbolMarket


class PairedBars:
    """Passes the closes of bars that closed at the same time to the statistics of all symbols.

    `pairs` are the declared statistics by interval and name. `symbols` is the market of each symbol; it changes while
    this object is in use, but stays the same mapping.

    Bars from before the start are paired by their time, because their order in a time slice is by symbol. They can also
    arrive later than those of the benchmark, such as after a symbol was added. The last closes of each benchmark are
    therefore stored: one more than the longest period of its statistics.
    """

    def __init__(self, pairs: Mapping[tuple[Interval, str], PairSpec], symbols: Mapping[str, SymbolMarket]) -> None:
        self._pairs, self._symbols = pairs, symbols
        self._intervals = frozenset(interval for interval, _ in pairs)
        self._present: dict[str, str] = {}  # declared benchmark that was renamed -> its present symbol
        counts: dict[tuple[Interval, str], int] = {}
        for (interval, _), pair in pairs.items():
            key = (interval, pair.benchmark)
            counts[key] = max(pair.period + 1, counts.get(key, 0))
        # By interval and declared benchmark: the end of the feed's bar and the close.
        self._recent: dict[tuple[Interval, str], deque[tuple[int, float]]] = {
            key: deque(maxlen=count) for key, count in counts.items()
        }
        # Of the current time slice, by interval, symbol and end: the closes of bars from before the start.
        self._history: dict[Interval, dict[str, dict[int, float]]] = {}

    def add_history(self, symbol: str, end_ns: int, intervals: Iterable[Interval]) -> None:
        """Add the bars of `intervals` that a bar from before the start has closed. `end_ns` is the end of that bar."""
        for interval in intervals:
            if interval in self._intervals:
                _, close = self._last_bar(symbol, interval)
                self._history.setdefault(interval, {}).setdefault(symbol, {})[end_ns] = close

    def update(self, closed: Mapping[Interval, Collection[str]]) -> None:
        """Update the statistics with the history, then with the bars that closed in this time slice, by interval."""
        if self._history:
            self._update_from_history()
        for (interval, name), pair in self._pairs.items():
            symbols, benchmark = closed.get(interval, ()), self._symbol_of(pair.benchmark)
            if benchmark not in symbols:
                continue
            end_ns, benchmark_close = self._last_bar(benchmark, interval)
            for symbol in symbols:
                _, close = self._last_bar(symbol, interval)
                self._symbols[symbol].pairs[interval, name].update(end_ns, close, benchmark_close)
        for (interval, declared), recent in self._recent.items():
            benchmark = self._symbol_of(declared)
            if benchmark in closed.get(interval, ()):
                recent.append(self._last_bar(benchmark, interval))

    def _update_from_history(self) -> None:
        history, self._history = self._history, {}
        benchmark_closes: dict[tuple[Interval, str], dict[int, float]] = {}
        for (interval, declared), recent in self._recent.items():
            last_ns = recent[-1][0] if recent else 0
            closes = history.get(interval, {}).get(self._symbol_of(declared), {})
            new = {end_ns: close for end_ns, close in closes.items() if end_ns > last_ns}
            benchmark_closes[interval, declared] = dict(recent) | new
            recent.extend(new.items())
        for (interval, name), pair in self._pairs.items():
            others = benchmark_closes[interval, pair.benchmark]
            for symbol, closes in history.get(interval, {}).items():
                statistic = self._symbols[symbol].pairs[interval, name]
                paired = [end_ns for end_ns in closes if end_ns > statistic.end_ns and end_ns in others]
                # Earlier ones do not count: the value depends on the last `period` returns only.
                for end_ns in paired[-pair.period - 1 :]:
                    statistic.update(end_ns, closes[end_ns], others[end_ns])

    def _last_bar(self, symbol: str, interval: Interval) -> tuple[int, float]:
        """Return the end of the last bar of the feed, and the close of the last bar of an interval."""
        one = self._symbols[symbol]
        feed_bar, bar = one.bar, one.last_bar(interval)
        assert feed_bar is not None and bar is not None, "its bar closed"
        return feed_bar.ts_ns, bar.close

    def _symbol_of(self, declared: str) -> str:
        """Return the present symbol of a declared benchmark."""
        return self._present.get(declared, declared)

    def begin(self, symbol: str) -> None:
        """Start the statistics to a benchmark afresh: another company uses its symbol, or its history was replaced.

        Those of the symbol itself begin with its new `SymbolMarket`.
        """
        for closes_by_symbol in self._history.values():
            closes_by_symbol.pop(symbol, None)
        for key, pair in self._pairs.items():
            if self._symbol_of(pair.benchmark) == symbol:
                for one in self._symbols.values():
                    one.pairs[key] = PairStatistic(pair)
        for (_, declared), recent in self._recent.items():
            if self._symbol_of(declared) == symbol:
                recent.clear()

    def rescale(self, symbol: str, factor: float) -> None:
        """Convert the closes of a benchmark after a split that multiplies prices by `factor`."""
        for key, pair in self._pairs.items():
            if self._symbol_of(pair.benchmark) == symbol:
                for one in self._symbols.values():
                    one.pairs[key].rescale_benchmark(factor)
        for key, recent in self._recent.items():
            if self._symbol_of(key[1]) == symbol:
                closes = [(end_ns, new_share_price(close, factor)) for end_ns, close in recent]
                self._recent[key] = deque(closes, maxlen=recent.maxlen)

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Continue the statistics to a benchmark under its new symbol."""
        for pair in self._pairs.values():
            if self._symbol_of(pair.benchmark) == symbol:
                self._present[pair.benchmark] = new_symbol

    def snapshot(self) -> Any:
        return (dict(self._present), {key: list(recent) for key, recent in self._recent.items()})

    def restore(self, present: Mapping[str, str], recent: Mapping[tuple[Interval, str], Iterable[Any]]) -> None:
        """Restore a snapshot. Closes of a benchmark that it lacks are stored from the next bar on."""
        self._present = dict(present)
        for key, one in self._recent.items():
            one.clear()
            one.extend((end_ns, close) for end_ns, close in recent.get(key, ()))
