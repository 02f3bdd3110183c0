"""The market as trading strategies see it: bars, histories, features and analysis of every symbol, shared by all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from operators.adjusted_prices import AdjustedPrices, ex_price, split_price
from operators.bar_completion import OPENING_PRICE_SEQ
from operators.indicators import Indicator, build, outputs
from operators.ledger.events import distribution_prices, share_ratio
from operators.ledger.split_ratio import exact_ratio
from operators.money import ONE, multiply
from operators.trading.event_bars import bar_builder
from operators.trading.history import BarHistory
from operators.trading.intervals import (
    Interval,
    interval_ns,
    interval_text,
    is_of_trades,
    parse_interval,
    time_interval_ns,
)
from operators.trading.pair_statistics import PairSpec, PairStatistic, parse_pair_spec
from operators.trading.resampling import scale_bar
from operators.trading.sessions import Session, SessionBounds, SessionClock, SessionTimes
from schemas.errors import BadInput
from schemas.records import (
    CASH_DIVIDEND,
    DELISTING,
    RIGHTS,
    SPIN_OFF,
    SYMBOL_CHANGE,
    Bar,
    CorporateAction,
    FeatureRow,
    Fundamentals,
    HistoryBar,
    HistoryRow,
    Prediction,
    Record,
    SentimentScore,
)

VERSION = 3
FILING_IDS_MAX = 1_000
"""Number of recent filing ids remembered to discard duplicates."""


class MarketNeeds:
    """What the strategies need of the market: histories and indicators by interval."""

    def __init__(self, bar_interval: str) -> None:
        self.bar_interval_ns = interval_ns(bar_interval)
        self.history_sizes: dict[Interval, int] = {}
        self.specs: dict[Interval, tuple[str, ...]] = {}  # of the intervals that the stage builds
        self.pairs: dict[tuple[Interval, str], PairSpec] = {}  # by interval and name

    def interval_of(self, text: str) -> Interval:
        """Return the interval of a text. Raises BadInput if its bars cannot be built from those of the feed."""
        interval = parse_interval(text)
        if is_of_trades(interval):
            raise BadInput(
                f"interval {text} counts trades, but strategies receive bars, which do not contain their number; "
                "use bars of volume (10000v) or of currency traded (1e6d)"
            )
        length = time_interval_ns(interval)
        if length is not None and (length < self.bar_interval_ns or length % self.bar_interval_ns):
            expected = f"a multiple of the bars of the feed, {interval_text(self.bar_interval_ns)}"
            raise BadInput(f"interval {text} must be {expected}")
        return interval

    def add_history(self, interval: str, size: int) -> None:
        """Keep at least `size` bars. Raises BadInput for an invalid interval or a size below 1."""
        key = self.interval_of(interval)
        if type(size) is not int or not 1 <= size <= 1_000_000:
            raise BadInput(f"history of {interval} must be a number of bars from 1 to 1000000, found {size!r}")
        self.history_sizes[key] = max(size, self.history_sizes.get(key, 0))

    def add_features(self, interval: str, specs: Sequence[str]) -> frozenset[str]:
        """Compute indicators. Return the names of their values. Raises BadInput for an invalid interval or spec."""
        key = self.interval_of(interval)
        pairs = [pair for spec in specs if (pair := parse_pair_spec(spec)) is not None]
        self.pairs |= {(key, pair.name): pair for pair in pairs}
        pair_names = frozenset(pair.name for pair in pairs)
        of_one_symbol = [spec for spec in specs if spec not in pair_names]
        names = frozenset(name for spec in of_one_symbol for name in outputs(spec))
        if key != self.bar_interval_ns:
            self.specs[key] = tuple(dict.fromkeys((*self.specs.get(key, ()), *of_one_symbol)))
        return names | pair_names

    @property
    def benchmarks(self) -> frozenset[str]:
        """The symbols that others are compared with."""
        return frozenset(pair.benchmark for pair in self.pairs.values())

    def add_interval(self, interval: str) -> None:
        """Combine the feed's bars to this interval, also without a history or an indicator."""
        key = self.interval_of(interval)
        if key != self.bar_interval_ns:
            self.specs.setdefault(key, ())

    def built_intervals(self) -> list[Interval]:
        """The intervals that the stage builds: those of time, shortest first, then the others by their text."""
        built = {*self.specs, *self.history_sizes} - {self.bar_interval_ns}
        return sorted(built, key=lambda one: (isinstance(one, str), one))


class IntervalMarket:
    """One symbol's bars of one interval: the last closed bar, and the indicators computed from them."""

    __slots__ = ("bar", "builder", "indicators", "values")

    def __init__(self, interval: Interval, specs: Sequence[str]) -> None:
        self.builder = bar_builder(interval)
        self.bar: Bar | None = None
        self.indicators: dict[str, Indicator | None] = {spec: build(spec) for spec in specs}  # None: it has failed
        self.values: dict[str, float] = {}

    def close(self, bar: Bar) -> None:
        """Process a closed bar. An indicator that raises stops for this symbol, so that its values are absent."""
        self.bar = bar
        self.values = {}
        for spec, indicator in self.indicators.items():
            if indicator is None:
                continue
            values: dict[str, float] = {}
            try:
                indicator.update(bar, values)
            except Exception:  # noqa: BLE001  (may be code of the user)
                self.indicators[spec] = None
            else:
                self.values.update(values)

    def rescale(self, factor: float) -> None:
        """Convert to the shares after a split. An indicator that cannot be converted warms up again."""
        self.builder.rescale(factor)
        if self.bar is not None:
            self.bar = scale_bar(self.bar, factor)
        for spec, indicator in self.indicators.items():
            try:
                if indicator is None:
                    self.indicators[spec] = build(spec)
                else:
                    indicator.rescale(factor)
            except Exception:  # noqa: BLE001  (it has no conversion, or is code of the user)
                self.indicators[spec] = build(spec)


class SymbolMarket:
    """All that is known of one symbol. `bars` counts the feed's bars."""

    __slots__ = ("bar", "bars", "fundamentals", "histories", "intervals", "pairs", "predictions", "row", "sentiment")

    def __init__(self, needs: MarketNeeds) -> None:
        self.bar: Bar | None = None
        self.bars = 0
        self.row: FeatureRow | None = None
        self.intervals = {
            interval: IntervalMarket(interval, needs.specs.get(interval, ())) for interval in needs.built_intervals()
        }
        self.histories = {interval: BarHistory(size) for interval, size in needs.history_sizes.items()}
        self.pairs = {key: PairStatistic(pair) for key, pair in needs.pairs.items()}
        self.predictions: dict[str, Prediction] = {}
        self.sentiment: SentimentScore | None = None
        self.fundamentals: Fundamentals | None = None

    def closed_bars(self, interval: Interval) -> int:
        """Return the number of closed bars of an interval."""
        one = self.intervals.get(interval)
        return self.bars if one is None else one.builder.seq

    def last_bar(self, interval: Interval) -> Bar | None:
        """Return the last closed bar of an interval."""
        one = self.intervals.get(interval)
        return self.bar if one is None else one.bar

    def rescale(self, factor: float) -> None:
        for history in self.histories.values():
            history.rescale(factor)
        for pair in self.pairs.values():
            pair.rescale(factor)
        for one in self.intervals.values():
            one.rescale(factor)
        if self.bar is not None:
            self.bar = scale_bar(self.bar, factor)


class Market:
    """The market data of all symbols of the strategies' universes.

    `symbols` are these symbols; None: every symbol that has a bar. `days` are the trading hours by day.
    """

    def __init__(
        self, needs: MarketNeeds, symbols: Iterable[str] | None = None, days: Mapping[int, SessionTimes] | None = None
    ) -> None:
        self.needs = needs
        self._universe: set[str] | None = None if symbols is None else set(symbols)
        self._clock = SessionClock(days or {})
        self._intervals = needs.built_intervals()
        self._symbols: dict[str, SymbolMarket] = {}
        self.prices: dict[str, float] = {}  # last closes, adjusted for corporate actions
        self._adjusted = AdjustedPrices()
        self._retired: dict[str, None] = {}  # symbols that were renamed or delisted, and have not traded since
        self._history_days: dict[str, int] = {}  # symbol -> day of the shares of its history
        self._filing_ids: dict[str, None] = {}
        self.newest_bar: Bar | None = None
        # Of the current time slice: the symbols whose bar closed, by interval.
        self.closed: dict[Interval, dict[str, None]] = {}

    @property
    def symbols(self) -> Mapping[str, SymbolMarket]:
        return self._symbols

    def session(self, ts_ns: int) -> Session | None:
        """Return the session of the newest bar; None before the first bar."""
        return None if self.newest_bar is None else self._clock.session(ts_ns, self.newest_bar)

    def set_days(self, days: Mapping[int, SessionTimes]) -> None:
        """Use other trading hours from now on."""
        self._clock.set_days(days)

    def is_retired(self, symbol: str) -> bool:
        """Whether a symbol was renamed or delisted, and has not traded since."""
        return symbol in self._retired

    def bounds(self, bar: Bar) -> SessionBounds:
        return self._clock.bounds(bar)

    # -- incoming records

    def update(self, ts_ns: int, records: Sequence[Record]) -> None:
        """Process the market data of one time slice."""
        self.closed = {}
        if self._adjusted.prices:
            records = self._adjusted.adjust_bars(records)
        bounds: dict[tuple[int, str], tuple[SessionBounds, bool]] = {}
        base = self.needs.bar_interval_ns
        closed = self.closed[base] = {}
        for record in records:
            if type(record) is Bar:
                if record.seq == OPENING_PRICE_SEQ or (self._retired and self._is_retired(record)):
                    continue
                symbol_market = self._symbol(record.symbol)
                if symbol_market is None:
                    continue
                closed[record.symbol] = None
                self.newest_bar = record
                for interval in self._append(record, symbol_market, bounds):
                    self.closed.setdefault(interval, {})[record.symbol] = None
            elif type(record) is FeatureRow or type(record) is HistoryRow:
                if (symbol_market := self._symbol(record.symbol)) is not None:
                    symbol_market.row = record if type(record) is FeatureRow else record.to_feature_row()
            elif type(record) is HistoryBar:
                self._add_history(record, bounds)
            elif type(record) is Prediction:
                if (symbol_market := self._symbol(record.symbol)) is not None:
                    symbol_market.predictions[record.model] = record
            elif type(record) is SentimentScore:
                if (symbol_market := self._symbol(record.symbol)) is not None:
                    symbol_market.sentiment = record
            elif type(record) is Fundamentals:
                self._add_filing(ts_ns, record)
        if self.needs.pairs:
            self._update_pairs()

    def _update_pairs(self) -> None:
        """Add the closes of the symbols whose bar closed in this time slice together with that of their benchmark."""
        for (interval, name), pair in self.needs.pairs.items():
            closed = self.closed.get(interval, {})
            if pair.benchmark not in closed:
                continue
            benchmark_bar = self._symbols[pair.benchmark].last_bar(interval)
            assert benchmark_bar is not None, "its bar closed"
            for symbol in closed:
                bar = self._symbols[symbol].last_bar(interval)
                assert bar is not None, "its bar closed"
                self._symbols[symbol].pairs[interval, name].update(bar.close, benchmark_bar.close)

    def _symbol(self, symbol: str) -> SymbolMarket | None:
        found = self._symbols.get(symbol)
        if found is None and (self._universe is None or symbol in self._universe):
            found = self._symbols[symbol] = SymbolMarket(self.needs)
        return found

    def _add_history(self, record: HistoryBar, bounds: dict[tuple[int, str], tuple[SessionBounds, bool]]) -> None:
        """Add a bar from before the first one of its symbol, unless the symbol has this bar or a later one.

        It counts for histories, longer bars and warm-up, but it closes no bar of this time slice.
        """
        symbol = record.symbol
        if symbol in self._retired:
            self._begin_company(symbol)
        symbol_market = self._symbol(symbol)
        if symbol_market is None or (symbol_market.bar is not None and symbol_market.bar.ts_ns >= record.end_ns):
            return
        self._history_days[symbol] = record.adjusted_day
        self._append(record.to_bar(), symbol_market, bounds)

    def _is_retired(self, bar: Bar) -> bool:
        """Whether a bar belongs to a symbol that no longer exists. A trade begins the symbol afresh: another company.

        The feed repeats the last close of every symbol that has ever traded.
        """
        symbol = bar.symbol
        if symbol not in self._retired:
            return False
        if not bar.traded:
            return True
        self._begin_company(symbol)
        return False

    def _begin_company(self, symbol: str) -> None:
        """Begin a retired symbol afresh."""
        del self._retired[symbol]
        self._adjusted.prices.pop(symbol, None)
        if symbol in self._symbols:
            self._symbols[symbol] = SymbolMarket(self.needs)
            for one in self._symbols.values():
                one.pairs |= {key: PairStatistic(p) for key, p in self.needs.pairs.items() if p.benchmark == symbol}

    def _append(
        self, bar: Bar, symbol_market: SymbolMarket, bounds: dict[tuple[int, str], tuple[SessionBounds, bool]]
    ) -> list[Interval]:
        """Add a bar to the histories and longer bars of its symbol. Return the intervals of the longer bars that it
        closes.
        """
        symbol_market.bar = bar
        symbol_market.bars += 1
        self.prices[bar.symbol] = bar.close
        history = symbol_market.histories.get(self.needs.bar_interval_ns)
        if history is not None:
            history.append(bar)
        closed: list[Interval] = []
        if not self._intervals:
            return closed
        key = (bar.trading_day, bar.session)
        found = bounds.get(key)
        if found is None:
            found = bounds[key] = (self._clock.bounds(bar), self._clock.ends_week(bar))
        session_bounds, ends_week = found
        for interval in self._intervals:
            one = symbol_market.intervals[interval]
            for built_bar in one.builder.update(bar, session_bounds, ends_week=ends_week):
                one.close(built_bar)
                if (history := symbol_market.histories.get(interval)) is not None:
                    history.append(built_bar)
                closed.append(interval)
        return closed

    def _add_filing(self, ts_ns: int, filing: Fundamentals) -> None:
        symbol_market = self._symbol(filing.symbol)
        if symbol_market is None or filing.fundamentals_id in self._filing_ids:
            return
        self._filing_ids[filing.fundamentals_id] = None
        if len(self._filing_ids) > FILING_IDS_MAX:
            del self._filing_ids[next(iter(self._filing_ids))]
        symbol_market.fundamentals = filing._replace(ts_ns=ts_ns)  # replace the wall-clock time by event time

    def apply_action(self, action: CorporateAction, rate: Any = ONE) -> None:
        """Apply a corporate action, before the bars of its time slice. `rate` converts its currency."""
        symbol_market, symbol = self._symbols.get(action.symbol), action.symbol
        if action.kind == SYMBOL_CHANGE and self._universe is not None and symbol in self._universe:
            self._universe.add(action.new_symbol)
        if symbol_market is None or symbol not in self.prices:
            return
        price, ratio = self.prices[symbol], share_ratio(action)
        if action.kind in (SYMBOL_CHANGE, DELISTING):
            self._adjusted.prices.pop(symbol, None)
            self._retired[symbol] = None
            if action.kind == SYMBOL_CHANGE and self._symbol(action.new_symbol) is not None:
                self.prices.setdefault(action.new_symbol, price)
            return
        if action.kind == CASH_DIVIDEND:
            assert action.amount is not None, f"{action.action_id}: expected a validated corporate action"
            price = ex_price(price, multiply(action.amount, rate))
        elif action.kind in (SPIN_OFF, RIGHTS):
            price, _ = distribution_prices(action, price)
        elif ratio != ONE:
            if 0 < action.ex_date <= self._history_days.get(symbol, 0):
                return  # the history includes it
            factor = 1.0 / float(exact_ratio(ratio))
            symbol_market.rescale(factor)
            for key, pair in self.needs.pairs.items():
                if pair.benchmark == symbol:
                    for one in self._symbols.values():
                        one.pairs[key].rescale_benchmark(factor)
            price = split_price(price, ratio)
        self.prices[symbol] = self._adjusted.prices[symbol] = price

    # -- state

    def snapshot(self) -> Any:
        symbols = {
            symbol: (
                None if one.bar is None else tuple(one.bar),
                one.bars,
                None if one.row is None else tuple(one.row),
                {interval: history.snapshot() for interval, history in one.histories.items()},
                {
                    interval: (
                        part.builder.snapshot(),
                        None if part.bar is None else tuple(part.bar),
                        {
                            spec: None if indicator is None else indicator.snapshot()
                            for spec, indicator in part.indicators.items()
                        },
                        dict(part.values),
                    )
                    for interval, part in one.intervals.items()
                },
                [tuple(prediction) for prediction in one.predictions.values()],
                None if one.sentiment is None else tuple(one.sentiment),
                None if one.fundamentals is None else tuple(one.fundamentals),
                {key: pair.snapshot() for key, pair in one.pairs.items()},
            )
            for symbol, one in self._symbols.items()
        }
        newest = None if self.newest_bar is None else tuple(self.newest_bar)
        universe = None if self._universe is None else sorted(self._universe)
        adjusted, clock = self._adjusted.snapshot(), self._clock.snapshot()
        prices = (dict(self.prices), adjusted, list(self._retired))
        filings, history_days = list(self._filing_ids), dict(self._history_days)
        return (VERSION, universe, symbols, prices, newest, clock, filings, history_days)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Intervals, indicators and histories that it lacks start warming up.

        Version 1 has no statistics of pairs, versions 1 and 2 no days of histories.
        """
        version, universe, symbols, (prices, adjusted, retired), newest, clock, filing_ids, *later = snapshot
        assert version in (1, 2, VERSION), f"market snapshot: version {version}, expected 1 to {VERSION}"
        self._history_days = dict(later[0]) if later else {}
        if self._universe is not None:
            self._universe |= set(universe or ())
        self.prices = dict(prices)
        self.newest_bar = None if newest is None else Bar(*newest)
        self._adjusted.restore(adjusted)
        self._retired = dict.fromkeys(retired)
        self._clock.restore(clock)
        self._filing_ids = dict.fromkeys(filing_ids)
        # The same dict, because the contexts of the strategies refer to it.
        self._symbols.clear()
        self._symbols.update((symbol, self._restored_symbol(values)) for symbol, values in symbols.items())

    def _restored_symbol(self, values: Any) -> SymbolMarket:
        bar, bars, row, histories, intervals, predictions, sentiment, fundamentals, *later = values
        one = SymbolMarket(self.needs)
        one.bar, one.bars = None if bar is None else Bar(*bar), bars
        one.row = None if row is None else FeatureRow(*row)
        for interval, history in one.histories.items():
            if interval in histories:
                history.restore(histories[interval])
        for interval, part in one.intervals.items():
            if interval not in intervals:
                continue
            builder, last, indicators, part.values = intervals[interval]
            part.values = dict(part.values)
            part.builder.restore(builder)
            part.bar = None if last is None else Bar(*last)
            for spec, indicator in part.indicators.items():
                if spec not in indicators or indicator is None:
                    continue
                if indicators[spec] is None:
                    part.indicators[spec] = None
                else:
                    indicator.restore(indicators[spec])
        pairs = later[0] if later else {}
        for key, pair in one.pairs.items():
            if key in pairs:
                pair.restore(pairs[key])
        one.predictions = {fields[3]: Prediction(*fields) for fields in predictions}
        one.sentiment = None if sentiment is None else SentimentScore(*sentiment)
        one.fundamentals = None if fundamentals is None else Fundamentals(*fundamentals)
        return one
