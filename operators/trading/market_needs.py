"""What the trading strategies of a run need of the market."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

from operators.indicators import outputs
from operators.trading.intervals import (
    Interval,
    from_trades,
    interval_ns,
    interval_text,
    is_from_trades,
    is_of_trades,
    parse_interval,
    time_interval_ns,
)
from operators.trading.pair_statistics import PairSpec, parse_pair_spec
from schemas.errors import BadInput

BarSource = Literal["bars", "trades", "trades_or_bars"]
"""The source of a strategy's bars of volume, currency traded and Renko."""
BAR_SOURCES: Final[tuple[BarSource, ...]] = get_args(BarSource)


class MarketNeeds:
    """What the strategies need of the market: histories and indicators by interval.

    `has_trades`: whether the feed publishes trades. `bar_source`: the source of the intervals that are added next.
    """

    def __init__(self, bar_interval: str, *, has_trades: bool = False) -> None:
        self.bar_interval_ns = interval_ns(bar_interval)
        self.has_trades = has_trades
        self.bar_source: BarSource = "bars"
        self.history_sizes: dict[Interval, int] = {}
        self.specs: dict[Interval, tuple[str, ...]] = {}  # of the intervals that the stage builds
        self.pairs: dict[tuple[Interval, str], PairSpec] = {}  # by interval and name

    def interval_of(self, text: str) -> Interval:
        """Return the interval of a text, with its source. Raises BadInput if they need trades that the feed lacks."""
        interval = parse_interval(text)
        length = time_interval_ns(interval)
        if length is None and needs_trades(interval, self.bar_source):
            if not self.has_trades:
                raise BadInput(
                    f"bars of {text} need trades, which this feed does not have: pass files of them (--market-trades, "
                    "market_data.files.trades), use the provider alpaca or polygon, or declare bars of volume (10000v) "
                    'with bar_source = "trades_or_bars"'
                )
            return from_trades(interval)
        if length is None and self.bar_source != "bars" and self.has_trades:
            return from_trades(interval)
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
        """The second symbols of the correlations and betas."""
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

    def trade_intervals(self) -> list[Interval]:
        """The intervals that the stage builds from trades."""
        return [one for one in self.built_intervals() if is_from_trades(one)]


def needs_trades(interval: Interval, source: BarSource) -> bool:
    """Whether bars of an interval can only be built from trades, given the declared source.

    >>> needs_trades("100t", "bars"), needs_trades("10000v", "trades_or_bars"), needs_trades("10000v", "trades")
    (True, False, True)
    """
    return time_interval_ns(interval) is None and (source == "trades" or is_of_trades(interval))
