"""The market as trading strategies see it: bars, histories, features and analysis of every symbol, shared by all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from operators.adjusted_prices import AdjustedPrices, ex_price, split_price
from operators.indicators import Indicator, build, outputs
from operators.ledger.events import distribution_prices, share_ratio
from operators.ledger.split_ratio import exact_ratio
from operators.money import ONE, multiply
from operators.trading.history import BarHistory
from operators.trading.intervals import interval_ns, interval_text
from operators.trading.resampling import BarResampler, scale_bar
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
    Prediction,
    Record,
    SentimentScore,
)

VERSION = 1
FILING_IDS_MAX = 1_000
"""Number of recent filing ids remembered to discard duplicates."""


class MarketNeeds:
    """What the strategies need of the market: histories and indicators by interval, in nanoseconds."""

    def __init__(self, bar_interval: str) -> None:
        self.bar_interval_ns = interval_ns(bar_interval)
        self.history_sizes: dict[int, int] = {}
        self.specs: dict[int, tuple[str, ...]] = {}  # of the longer intervals

    def length_of(self, interval: str) -> int:
        """Return the length of an interval. Raises BadInput if the bars of the feed cannot be combined to it."""
        length = interval_ns(interval)
        if length < self.bar_interval_ns or length % self.bar_interval_ns:
            expected = f"a multiple of the bars of the feed, {interval_text(self.bar_interval_ns)}"
            raise BadInput(f"interval {interval} must be {expected}")
        return length

    def add_history(self, interval: str, size: int) -> None:
        """Keep at least `size` bars. Raises BadInput for an invalid interval or a size below 1."""
        length = self.length_of(interval)
        if type(size) is not int or not 1 <= size <= 1_000_000:
            raise BadInput(f"history of {interval} must be a number of bars from 1 to 1000000, found {size!r}")
        self.history_sizes[length] = max(size, self.history_sizes.get(length, 0))

    def add_features(self, interval: str, specs: Sequence[str]) -> frozenset[str]:
        """Compute indicators. Return the names of their values. Raises BadInput for an invalid interval or spec."""
        length = self.length_of(interval)
        names = frozenset(name for spec in specs for name in outputs(spec))
        if length != self.bar_interval_ns:
            self.specs[length] = tuple(dict.fromkeys((*self.specs.get(length, ()), *specs)))
        return names

    def add_interval(self, interval: str) -> None:
        """Combine the feed's bars to this interval, also without a history or an indicator."""
        length = self.length_of(interval)
        if length != self.bar_interval_ns:
            self.specs.setdefault(length, ())

    def longer_intervals(self) -> list[int]:
        """The intervals that the stage combines, shortest first."""
        lengths = {*self.specs, *self.history_sizes} - {self.bar_interval_ns}
        return sorted(lengths)


class IntervalMarket:
    """One symbol's bars of one longer interval: the last closed bar, and the indicators computed from them."""

    __slots__ = ("bar", "indicators", "resampler", "values")

    def __init__(self, length_ns: int, specs: Sequence[str]) -> None:
        self.resampler = BarResampler(length_ns)
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
        self.resampler.rescale(factor)
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

    __slots__ = ("bar", "bars", "fundamentals", "histories", "intervals", "predictions", "row", "sentiment")

    def __init__(self, needs: MarketNeeds) -> None:
        self.bar: Bar | None = None
        self.bars = 0
        self.row: FeatureRow | None = None
        self.intervals = {
            length: IntervalMarket(length, needs.specs.get(length, ())) for length in needs.longer_intervals()
        }
        self.histories = {length: BarHistory(size) for length, size in needs.history_sizes.items()}
        self.predictions: dict[str, Prediction] = {}
        self.sentiment: SentimentScore | None = None
        self.fundamentals: Fundamentals | None = None

    def closed_bars(self, length_ns: int) -> int:
        """Return the number of closed bars of an interval."""
        one = self.intervals.get(length_ns)
        return self.bars if one is None else one.resampler.seq

    def rescale(self, factor: float) -> None:
        for history in self.histories.values():
            history.rescale(factor)
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
        self._lengths = needs.longer_intervals()
        self._symbols: dict[str, SymbolMarket] = {}
        self.prices: dict[str, float] = {}  # last closes, adjusted for corporate actions
        self._adjusted = AdjustedPrices()
        self._retired: dict[str, None] = {}  # symbols that were renamed or delisted, and have not traded since
        self._filing_ids: dict[str, None] = {}
        self.newest_bar: Bar | None = None
        # Of the current time slice: the symbols whose bar closed, by interval.
        self.closed: dict[int, dict[str, None]] = {}

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
                if self._retired and self._is_retired(record):
                    continue
                symbol_market = self._symbol(record.symbol)
                if symbol_market is None:
                    continue
                closed[record.symbol] = None
                self._add_bar(record, symbol_market, bounds)
            elif type(record) is FeatureRow:
                if (symbol_market := self._symbol(record.symbol)) is not None:
                    symbol_market.row = record
            elif type(record) is Prediction:
                if (symbol_market := self._symbol(record.symbol)) is not None:
                    symbol_market.predictions[record.model] = record
            elif type(record) is SentimentScore:
                if (symbol_market := self._symbol(record.symbol)) is not None:
                    symbol_market.sentiment = record
            elif type(record) is Fundamentals:
                self._add_filing(ts_ns, record)

    def _symbol(self, symbol: str) -> SymbolMarket | None:
        found = self._symbols.get(symbol)
        if found is None and (self._universe is None or symbol in self._universe):
            found = self._symbols[symbol] = SymbolMarket(self.needs)
        return found

    def _is_retired(self, bar: Bar) -> bool:
        """Whether a bar belongs to a symbol that no longer exists. A trade begins the symbol afresh: another company.

        The feed repeats the last close of every symbol that has ever traded.
        """
        symbol = bar.symbol
        if symbol not in self._retired:
            return False
        if not bar.traded:
            return True
        del self._retired[symbol]
        self._adjusted.prices.pop(symbol, None)
        if symbol in self._symbols:
            self._symbols[symbol] = SymbolMarket(self.needs)
        return False

    def _add_bar(
        self, bar: Bar, symbol_market: SymbolMarket, bounds: dict[tuple[int, str], tuple[SessionBounds, bool]]
    ) -> None:
        symbol_market.bar = self.newest_bar = bar
        symbol_market.bars += 1
        self.prices[bar.symbol] = bar.close
        history = symbol_market.histories.get(self.needs.bar_interval_ns)
        if history is not None:
            history.append(bar)
        if not self._lengths:
            return
        key = (bar.trading_day, bar.session)
        found = bounds.get(key)
        if found is None:
            found = bounds[key] = (self._clock.bounds(bar), self._clock.ends_week(bar))
        session_bounds, ends_week = found
        for length in self._lengths:
            one = symbol_market.intervals[length]
            for longer_bar in one.resampler.update(bar, session_bounds, ends_week=ends_week):
                one.close(longer_bar)
                if (history := symbol_market.histories.get(length)) is not None:
                    history.append(longer_bar)
                self.closed.setdefault(length, {})[bar.symbol] = None

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
            symbol_market.rescale(1.0 / float(exact_ratio(ratio)))
            price = split_price(price, ratio)
        self.prices[symbol] = self._adjusted.prices[symbol] = price

    # -- state

    def snapshot(self) -> Any:
        symbols = {
            symbol: (
                None if one.bar is None else tuple(one.bar),
                one.bars,
                None if one.row is None else tuple(one.row),
                {length: history.snapshot() for length, history in one.histories.items()},
                {
                    length: (
                        part.resampler.snapshot(),
                        None if part.bar is None else tuple(part.bar),
                        {
                            spec: None if indicator is None else indicator.snapshot()
                            for spec, indicator in part.indicators.items()
                        },
                        dict(part.values),
                    )
                    for length, part in one.intervals.items()
                },
                [tuple(prediction) for prediction in one.predictions.values()],
                None if one.sentiment is None else tuple(one.sentiment),
                None if one.fundamentals is None else tuple(one.fundamentals),
            )
            for symbol, one in self._symbols.items()
        }
        newest = None if self.newest_bar is None else tuple(self.newest_bar)
        universe = None if self._universe is None else sorted(self._universe)
        adjusted, clock = self._adjusted.snapshot(), self._clock.snapshot()
        prices = (dict(self.prices), adjusted, list(self._retired))
        return (VERSION, universe, symbols, prices, newest, clock, list(self._filing_ids))

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Intervals, indicators and histories that it lacks start warming up."""
        version, universe, symbols, (prices, adjusted, retired), newest, clock, filing_ids = snapshot
        assert version == VERSION, f"market snapshot: version {version}, expected {VERSION}"
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
        bar, bars, row, histories, intervals, predictions, sentiment, fundamentals = values
        one = SymbolMarket(self.needs)
        one.bar, one.bars = None if bar is None else Bar(*bar), bars
        one.row = None if row is None else FeatureRow(*row)
        for length, history in one.histories.items():
            if length in histories:
                history.restore(histories[length])
        for length, part in one.intervals.items():
            if length not in intervals:
                continue
            resampler, last, indicators, part.values = intervals[length]
            part.values = dict(part.values)
            part.resampler.restore(resampler)
            part.bar = None if last is None else Bar(*last)
            for spec, indicator in part.indicators.items():
                if spec not in indicators or indicator is None:
                    continue
                if indicators[spec] is None:
                    part.indicators[spec] = None
                else:
                    indicator.restore(indicators[spec])
        one.predictions = {fields[3]: Prediction(*fields) for fields in predictions}
        one.sentiment = None if sentiment is None else SentimentScore(*sentiment)
        one.fundamentals = None if fundamentals is None else Fundamentals(*fundamentals)
        return one
