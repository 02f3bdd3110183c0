"""What a trading strategy reads of the market: the first part of the `ctx` of its handlers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from operators.trading.intervals import interval_ns, interval_text
from operators.trading.market import Market, SymbolMarket
from operators.trading.sessions import Session
from operators.trading.universe import Universe
from schemas.errors import BadInput
from schemas.records import Bar, Fundamentals, Prediction, SentimentScore
from schemas.suggestions import did_you_mean


class Declarations(NamedTuple):
    """What a strategy has declared, checked. Intervals in nanoseconds."""

    name: str
    bar_interval_ns: int
    history_sizes: Mapping[int, int]
    feature_names: Mapping[int, frozenset[str]]
    warm_up: int
    warm_up_interval_ns: int


class MarketContext:
    """The time and the market of one strategy's universe.

    Prices are per unit in the instrument's currency, times in nanoseconds since 1970 UTC. The feed's bars are the
    default of `interval`. Members raise BadInput for an unknown symbol, interval or indicator.
    """

    def __init__(self, declarations: Declarations, market: Market, universe: Universe) -> None:
        self._declared, self._market, self._universe = declarations, market, universe
        self._symbols = market.symbols
        self._time = 0

    # -- time and market

    @property
    def time(self) -> int:
        """The time of the time slice, in nanoseconds."""
        return self._time

    @property
    def session(self) -> Session | None:
        """The session of the newest bar; None before the first bar."""
        return self._market.session(self._time)

    @property
    def universe(self) -> Sequence[str]:
        """The symbols of the strategy, sorted; with a rule, those that it has selected."""
        return self._universe.symbols

    def closed(self, interval: str | None = None) -> tuple[str, ...]:
        """Return the symbols whose bar of `interval` closed in this time slice, sorted. Default: the feed's bars."""
        length = self._length(interval)
        if length != self._declared.bar_interval_ns:
            self._check_interval(length)
        return tuple(
            sorted(symbol for symbol in self._market.closed.get(length, ()) if self._universe.is_active(symbol))
        )

    def bar(self, symbol: str, interval: str | None = None) -> Bar | None:
        """Return the last closed bar; None before the first one, and if the symbol did not trade in it."""
        one, length = self._symbol(symbol), self._length(interval)
        if length != self._declared.bar_interval_ns:
            self._check_interval(length)
        if one is None:
            return None
        found = one.bar if length == self._declared.bar_interval_ns else one.intervals[length].bar
        return found if found is not None and found.traded else None

    def price(self, symbol: str) -> float | None:
        """Return the last close, also of a bar without a trade; None before the first bar."""
        one = self._symbol(symbol)
        return None if one is None else self._market.prices.get(symbol)

    def feature(self, symbol: str, name: str, interval: str | None = None) -> float | None:
        """Return the value of a declared indicator at the last closed bar; None until it has warmed up."""
        one, length = self._symbol(symbol), self._length(interval)
        names = self._declared.feature_names.get(length, frozenset())
        if name not in names:
            text = interval_text(length)
            known = ", ".join(sorted(names)) or "none"
            raise BadInput(
                f"feature {name!r} of {text} is not declared{did_you_mean(name, names) or '.'} Declared: {known}"
            )
        if one is None:
            return None
        if length == self._declared.bar_interval_ns:
            return None if one.row is None else one.row.values.get(name)
        return one.intervals[length].values.get(name)

    def history(self, symbol: str, interval: str | None = None) -> Mapping[str, npt.NDArray[Any]]:
        """Return the last closed bars as read-only arrays `time open high low close volume`, newest last.

        There are at most as many as `history` declares, and fewer before. `time` is the end of each bar. A bar without
        a trade has the last close as its prices and the volume 0. Copy an array to use it in a later evaluation.
        """
        one, length = self._symbol(symbol), self._length(interval)
        size = self._declared.history_sizes.get(length)
        if size is None:
            declared = ", ".join(interval_text(one) for one in sorted(self._declared.history_sizes)) or "none"
            raise BadInput(f"history of {interval_text(length)} is not declared. Declared: {declared}")
        if one is None:
            one = SymbolMarket(self._market.needs)
        return one.histories[length].arrays(size)

    def prediction(self, symbol: str, model: str | None = None) -> Prediction | None:
        """Return the last forecast of a model; without a name, the newest one. None if there is none."""
        one = self._symbol(symbol)
        if one is None or not one.predictions:
            return None
        if model is not None:
            return one.predictions.get(model)
        return max(one.predictions.values(), key=lambda prediction: (prediction.ts_ns, prediction.seq))

    def sentiment(self, symbol: str) -> SentimentScore | None:
        """Return the last sentiment score; None if there is none."""
        one = self._symbol(symbol)
        return None if one is None else one.sentiment

    def fundamentals(self, symbol: str) -> Fundamentals | None:
        """Return the figures of the last filing; None if there is none."""
        one = self._symbol(symbol)
        return None if one is None else one.fundamentals

    # -- checks

    def _check_symbol(self, symbol: str) -> None:
        if symbol not in self._universe.known:
            universe = self._universe.symbols
            raise BadInput(
                f"{symbol!r:.64} is not in the universe of strategy {self._declared.name}"
                f"{did_you_mean(str(symbol), universe) or '.'} The universe has {len(universe)} symbols"
            )

    def _symbol(self, symbol: str) -> SymbolMarket | None:
        if symbol not in self._universe.known:
            self._check_symbol(symbol)
        return self._symbols.get(symbol)

    def _length(self, interval: str | None) -> int:
        return self._declared.bar_interval_ns if interval is None else interval_ns(interval)

    def _check_interval(self, length: int) -> None:
        if length not in self._declared.history_sizes and length not in self._declared.feature_names:
            declared = {self._declared.bar_interval_ns, *self._declared.history_sizes, *self._declared.feature_names}
            known = ", ".join(interval_text(one) for one in sorted(declared))
            raise BadInput(
                f"interval {interval_text(length)} is not declared in `features` or `history`. Declared: {known}"
            )
