"""What the trading strategies of a run need of the market."""

from __future__ import annotations

from collections.abc import Sequence

from operators.indicators import outputs
from operators.trading.intervals import (
    Interval,
    interval_ns,
    interval_text,
    is_of_trades,
    parse_interval,
    time_interval_ns,
)
from operators.trading.pair_statistics import PairSpec, parse_pair_spec
from schemas.errors import BadInput


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
