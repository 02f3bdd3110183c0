"""What a trading strategy reads of the market: the first part of the `ctx` of its handlers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy.typing as npt

from operators.trading.cross_section import ranks, z_scores
from operators.trading.intervals import Interval, from_trades, interval_text, is_from_trades, parse_interval
from operators.trading.market import Market
from operators.trading.market_events import EventName, MarketEvents
from operators.trading.sessions import Session
from operators.trading.symbol_market import SymbolMarket
from operators.trading.universe import Universe
from operators.trading.user_data import UserData
from schemas.errors import BadInput
from schemas.records import Bar, DataRow, Fundamentals, Prediction, Quote, SentimentScore
from schemas.suggestions import did_you_mean


class Declarations(NamedTuple):
    """What a strategy has declared, checked."""

    name: str
    bar_interval_ns: int
    history_sizes: Mapping[Interval, int]
    feature_names: Mapping[Interval, frozenset[str]]
    data: frozenset[str]
    events: frozenset[EventName]
    warm_up: int
    warm_up_interval: Interval
    trade_intervals: frozenset[Interval] = frozenset()  # those whose bars are built from trades
    symbols: tuple[str, ...] = ()  # in the order of the strategy; empty for the universe of the settings


class MarketContext:
    """The time and the market of one strategy's universe.

    Prices are per unit in the instrument's currency, times in nanoseconds since 1970 UTC. The feed's bars are the
    default of `interval`. Members raise BadInput for an unknown symbol, interval or indicator. For the old name of a
    symbol that was renamed, merged or delisted they return None, 0 or nothing, also if another company uses the name.
    Only `on_event` of the action still reads its last data.
    """

    def __init__(
        self,
        declarations: Declarations,
        market: Market,
        universe: Universe,
        user_data: UserData,
        market_events: MarketEvents,
    ) -> None:
        self._declared, self._market, self._universe = declarations, market, universe
        self._user_data, self._market_events = user_data, market_events
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
        """The symbols of the strategy, sorted; with a rule, those that it has selected.

        A symbol that was renamed or merged is replaced by its new one, in its place. A delisted one is removed.
        """
        return self._universe.symbols

    @property
    def symbols(self) -> Sequence[str]:
        """The symbols that the strategy declares, in its order, each under its present name; else the universe.

        A delisted one is left out.
        """
        if not self._declared.symbols:
            return self._universe.symbols
        present = [self._universe.names.declared(symbol) for symbol in self._declared.symbols]
        return tuple(dict.fromkeys(symbol for symbol in present if symbol is not None))

    def current(self, symbol: str) -> str | None:
        """Return the present name of a symbol: META for FB after its change; None after a delisting."""
        self._check_symbol(symbol)
        return self._universe.names.current(symbol)

    def closed(self, interval: str | None = None) -> tuple[str, ...]:
        """Return the symbols whose bar of `interval` closed in this time slice, sorted. Default: the feed's bars."""
        key = self._interval(interval)
        if key != self._declared.bar_interval_ns:
            self._check_interval(key)
        universe = self._universe
        return universe.names.ordered(one for one in self._market.closed.get(key, ()) if universe.is_active(one))

    def bar(self, symbol: str, interval: str | None = None) -> Bar | None:
        """Return the last closed bar; None before the first one, and if the symbol did not trade in it."""
        one, key = self._symbol(symbol), self._interval(interval)
        if key != self._declared.bar_interval_ns:
            self._check_interval(key)
        if one is None:
            return None
        found = one.bar if key == self._declared.bar_interval_ns else one.intervals[key].bar
        return found if found is not None and found.traded else None

    def bar_source(self, interval: str | None = None) -> Literal["bars", "trades"]:
        """Return the source of the bars of a declared interval: `"bars"` (of the feed) or `"trades"`."""
        key = self._interval(interval)
        if key != self._declared.bar_interval_ns:
            self._check_interval(key)
        return "trades" if is_from_trades(key) else "bars"

    def price(self, symbol: str) -> float | None:
        """Return the last close, also of a bar without a trade; None before the first bar.

        Before the first bar of distributed shares, it is their share of the price of the old ones.
        """
        if symbol not in self._universe.known:
            self._check_symbol(symbol)
        return None if self._universe.names.is_hidden(symbol) else self._market.prices.get(symbol)

    def is_halted(self, symbol: str) -> bool:
        """Whether the exchange has halted trading in a symbol. Risk then rejects every order in it."""
        return self._symbol(symbol) is not None and self._market.halts.current(symbol) is not None

    def quote(self, symbol: str) -> Quote | None:
        """Return the newest quote, with `bid`, `ask`, `bid_size` and `ask_size`; None before the first one.

        The strategy must declare `events = ("quotes",)`.
        """
        if "quotes" not in self._declared.events:
            raise BadInput('quotes are not declared; add events = ("quotes",) to the strategy')
        self._check_symbol(symbol)
        return None if self._universe.names.is_hidden(symbol) else self._market_events.quote(symbol)

    def feature(self, symbol: str, name: str, interval: str | None = None) -> float | None:
        """Return the value of a declared indicator at the last closed bar; None until it has warmed up."""
        one, key = self._symbol(symbol), self._interval(interval)
        names = self._declared.feature_names.get(key, frozenset())
        if name not in names:
            text = interval_text(key)
            known = ", ".join(sorted(names)) or "none"
            raise BadInput(
                f"feature {name!r} of {text} is not declared{did_you_mean(name, names) or '.'} Declared: {known}"
            )
        if one is None:
            return None
        if one.pairs and (pair := one.pairs.get((key, name))) is not None:
            return pair.value
        if key == self._declared.bar_interval_ns:
            return None if one.row is None else one.row.values.get(name)
        return one.intervals[key].values.get(name)

    def rank(self, name: str, interval: str | None = None) -> dict[str, float | None]:
        """Return the rank of each symbol of the universe by a declared indicator: 1 for the smallest value.

        Equal values share the mean of their ranks. None for a symbol whose indicator has not warmed up.
        """
        return ranks(self._features(name, interval))

    def z_score(self, name: str, interval: str | None = None) -> dict[str, float | None]:
        """Return the distance of each symbol's value of a declared indicator from the mean over the universe.

        The unit is the population standard deviation over the universe. None for a symbol whose indicator has not
        warmed up, and for all symbols if their values are equal.
        """
        return z_scores(self._features(name, interval))

    def _features(self, name: str, interval: str | None) -> dict[str, float | None]:
        return {symbol: self.feature(symbol, name, interval) for symbol in self._universe.symbols}

    def history(self, symbol: str, interval: str | None = None) -> Mapping[str, npt.NDArray[Any]]:
        """Return the last closed bars as read-only arrays `time open high low close volume`, newest last.

        There are at most as many as `history` declares, and fewer before. `time` is the end of each bar. A bar without
        a trade has the last close as its prices and the volume 0. Copy an array to use it in a later evaluation.
        """
        one, key = self._symbol(symbol), self._interval(interval)
        size = self._declared.history_sizes.get(key)
        if size is None:
            declared = _texts(self._declared.history_sizes) or "none"
            raise BadInput(f"history of {interval_text(key)} is not declared. Declared: {declared}")
        if one is None:
            one = SymbolMarket(self._market.needs)
        return one.histories[key].arrays(size)

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

    def data(self, name: str, symbol: str = "") -> DataRow | None:
        """Return the newest available row of your own data, of a symbol or of none; None before the first one."""
        if name not in self._declared.data:
            known = ", ".join(sorted(self._declared.data)) or "none"
            suggestion = did_you_mean(str(name), self._declared.data)
            raise BadInput(f"data {name!r:.64} is not declared{suggestion or '.'} Declared: {known}")
        return self._user_data.newest(name, symbol)

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
        return None if self._universe.names.is_hidden(symbol) else self._symbols.get(symbol)

    def _interval(self, text: str | None) -> Interval:
        if text is None:
            return self._declared.bar_interval_ns
        interval = parse_interval(text)
        if isinstance(interval, str) and (found := from_trades(interval)) in self._declared.trade_intervals:
            return found
        return interval

    def _check_interval(self, interval: Interval) -> None:
        if interval not in self._declared.history_sizes and interval not in self._declared.feature_names:
            declared = {self._declared.bar_interval_ns, *self._declared.history_sizes, *self._declared.feature_names}
            known = _texts(declared)
            raise BadInput(
                f"interval {interval_text(interval)} is not declared in `features` or `history`. Declared: {known}"
            )


def _texts(intervals: Iterable[Interval]) -> str:
    """Return the intervals as text, those of time first, the shortest ahead."""
    return ", ".join(interval_text(one) for one in sorted(intervals, key=lambda one: (isinstance(one, str), one)))
