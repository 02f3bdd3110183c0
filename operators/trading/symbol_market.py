"""The market data of one symbol, as trading strategies see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from operators.indicator_calls import IndicatorCalls
from operators.indicators import Indicator, build
from operators.raised_error import RaisedError
from operators.suspended_analysis import are_finite, describe_indicator_error, invalid_value
from operators.trading.event_bars import bar_builder
from operators.trading.history import BarHistory
from operators.trading.intervals import Interval, interval_text
from operators.trading.market_needs import MarketNeeds
from operators.trading.pair_statistics import PairStatistic
from operators.trading.resampling import scale_bar
from operators.trading.sessions import SessionTimes
from schemas.records import Bar, FeatureRow, Fundamentals, Prediction, SentimentScore

NO_DAYS: Mapping[int, SessionTimes] = MappingProxyType({})


class IntervalMarket:
    """One symbol's bars of one interval: the last closed bar, and the indicators computed from them.

    `days` are the trading hours by day.
    """

    __slots__ = ("_days", "_interval", "bar", "builder", "indicators", "values")

    def __init__(self, interval: Interval, specs: Sequence[str], days: Mapping[int, SessionTimes]) -> None:
        self._days, self._interval = days, interval
        self.builder = bar_builder(interval)
        self.bar: Bar | None = None
        self.indicators: dict[str, Indicator | None] = {spec: self._create(spec) for spec in specs}  # None: it failed
        self.values: dict[str, float] = {}

    def _create(self, spec: str) -> Indicator:
        indicator = build(spec)
        indicator.use_sessions(self._days)
        return indicator

    def set_days(self, days: Mapping[int, SessionTimes]) -> None:
        """Use other trading hours from now on."""
        self._days = days
        for indicator in self.indicators.values():
            if indicator is not None:
                indicator.use_sessions(days)

    def close(self, bar: Bar, calls: IndicatorCalls) -> list[tuple[str, RaisedError]]:
        """Process a closed bar. Return the name and the error of each indicator that fails.

        Such an indicator stops for this symbol, so that its values are absent.
        """
        self.bar = bar
        self.values = {}
        errors: list[tuple[str, RaisedError]] = []
        for spec, indicator in self.indicators.items():
            if indicator is None:
                continue
            values: dict[str, float] = {}
            error: RaisedError | None = None
            try:
                calls.run(self.name_of(spec), indicator, bar.symbol, indicator.update, bar, values)
            except Exception as raised:  # noqa: BLE001  (may be code of the user)
                error = describe_indicator_error(raised, indicator)
            else:
                if not are_finite(values):
                    error = invalid_value(spec, indicator, values)
            if error is None:
                self.values.update(values)
            else:
                self.indicators[spec] = None
                errors.append((self.name_of(spec), error))
        return errors

    def name_of(self, spec: str) -> str:
        """Return the name of an indicator in its timeouts and dead letters.

        It differs from that of `ema_20@15m`, which the features service computes.
        """
        return f"{spec} of {interval_text(self._interval)}"

    def rescale(self, symbol: str, factor: float, calls: IndicatorCalls) -> None:
        """Convert to the shares after a split. An indicator that cannot be converted warms up again."""
        self.builder.rescale(factor)
        if self.bar is not None:
            self.bar = scale_bar(self.bar, factor)
        for spec, indicator in self.indicators.items():
            try:
                if indicator is None:
                    self.indicators[spec] = self._create(spec)
                else:
                    calls.run(self.name_of(spec), indicator, symbol, indicator.rescale, factor)
            except Exception:  # noqa: BLE001  (it has no conversion, or is code of the user)
                self.indicators[spec] = self._create(spec)

    def snapshot(self) -> Any:
        indicators = {spec: None if one is None else one.snapshot() for spec, one in self.indicators.items()}
        bar = None if self.bar is None else tuple(self.bar)
        return (self.builder.snapshot(), bar, indicators, dict(self.values))

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Indicators that it lacks start warming up."""
        builder, bar, indicators, values = snapshot
        self.builder.restore(builder)
        self.bar = None if bar is None else Bar(*bar)
        self.values = dict(values)
        for spec, indicator in self.indicators.items():
            if spec not in indicators or indicator is None:
                continue
            if indicators[spec] is None:
                self.indicators[spec] = None
            else:
                indicator.restore(indicators[spec])


class SymbolMarket:
    """All that is known of one symbol. `bars` counts the feed's bars."""

    __slots__ = ("bar", "bars", "fundamentals", "histories", "intervals", "pairs", "predictions", "row", "sentiment")

    def __init__(self, needs: MarketNeeds, days: Mapping[int, SessionTimes] = NO_DAYS) -> None:
        self.bar: Bar | None = None
        self.bars = 0
        self.row: FeatureRow | None = None
        self.intervals = {
            interval: IntervalMarket(interval, needs.specs.get(interval, ()), days)
            for interval in needs.built_intervals()
        }
        self.histories = {interval: BarHistory(size) for interval, size in needs.history_sizes.items()}
        self.pairs = {key: PairStatistic(pair) for key, pair in needs.pairs.items()}
        self.predictions: dict[str, Prediction] = {}
        self.sentiment: SentimentScore | None = None
        self.fundamentals: Fundamentals | None = None

    def without_bars(self, needs: MarketNeeds, days: Mapping[int, SessionTimes]) -> SymbolMarket:
        """Return what is known of the symbol besides its bars."""
        one = SymbolMarket(needs, days)
        one.predictions, one.sentiment, one.fundamentals = self.predictions, self.sentiment, self.fundamentals
        return one

    def closed_bars(self, interval: Interval) -> int:
        """Return the number of closed bars of an interval."""
        one = self.intervals.get(interval)
        return self.bars if one is None else one.builder.seq

    def last_bar(self, interval: Interval) -> Bar | None:
        """Return the last closed bar of an interval."""
        one = self.intervals.get(interval)
        return self.bar if one is None else one.bar

    def rescale(self, symbol: str, factor: float, calls: IndicatorCalls) -> None:
        """Convert to the shares after a split."""
        for history in self.histories.values():
            history.rescale(factor)
        for pair in self.pairs.values():
            pair.rescale(factor)
        for one in self.intervals.values():
            one.rescale(symbol, factor, calls)
        if self.bar is not None:
            self.bar = scale_bar(self.bar, factor)

    def snapshot(self) -> Any:
        return (
            None if self.bar is None else tuple(self.bar),
            self.bars,
            None if self.row is None else tuple(self.row),
            {interval: history.snapshot() for interval, history in self.histories.items()},
            {interval: one.snapshot() for interval, one in self.intervals.items()},
            [tuple(prediction) for prediction in self.predictions.values()],
            None if self.sentiment is None else tuple(self.sentiment),
            None if self.fundamentals is None else tuple(self.fundamentals),
            {key: pair.snapshot() for key, pair in self.pairs.items()},
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Intervals, histories and statistics that it lacks start warming up."""
        bar, self.bars, row, histories, intervals, predictions, sentiment, fundamentals, *later = snapshot
        self.bar = None if bar is None else Bar(*bar)
        self.row = None if row is None else FeatureRow(*row)
        for interval, history in self.histories.items():
            if interval in histories:
                history.restore(histories[interval])
        for interval, one in self.intervals.items():
            if interval in intervals:
                one.restore(intervals[interval])
        pairs = later[0] if later else {}  # version 1 of the market has none
        for key, pair in self.pairs.items():
            if key in pairs:
                pair.restore(pairs[key])
        self.predictions = {fields[3]: Prediction(*fields) for fields in predictions}
        self.sentiment = None if sentiment is None else SentimentScore(*sentiment)
        self.fundamentals = None if fundamentals is None else Fundamentals(*fundamentals)
