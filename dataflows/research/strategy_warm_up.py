"""Find after how many bars a strategy reads the same values, whatever its start date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from operators.features import FeatureStage
from operators.strategies import Strategy, TradingStrategy
from operators.trading.context import TradingContext
from operators.trading.declarations import check_declarations, row_features
from operators.trading.intervals import interval_text
from operators.trading.market_needs import MarketNeeds
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.records import Bar, Record

SETTINGS = TradingSettings(has_trades=True)
TOLERANCE = 0.01
"""Two values agree if they differ by at most this share of the indicator's mean absolute value."""
Values = dict[tuple[str, str, str], float | None]
"""What a strategy can read: by symbol, interval, and name of the indicator, or "bars" for the length of a history."""


class ObservedValues(NamedTuple):
    """The values in one time slice, and the number of bars of the shortest interval that have closed so far."""

    bars: int
    values: Values


class WarmUp(NamedTuple):
    """The number of bars after which two start dates agree (None: not within the tape), and those of the later start.

    Both are bars of the shortest declared interval.
    """

    needed: int | None
    available: int


def measure_warm_up(strategy: Strategy | TradingStrategy, tape: Sequence[Sequence[Record]], start: int) -> WarmUp:
    """Compare a start at the time slice `start` with one at the first time slice.

    The strategy's indicators and histories are compared, not its decisions, which may depend on its positions.
    """
    early, late = observe(strategy, tape)[start:], observe(strategy, tape[start:])
    means = _means(one.values for one in early)
    needed = 0
    for before, after in zip(early, late, strict=True):
        if not all(_agree(value, after.values[key], means.get(key, 0.0)) for key, value in before.values.items()):
            needed = after.bars + 1
    available = late[-1].bars if late else 0
    return WarmUp(needed if needed <= available else None, available)


def observe(strategy: Strategy | TradingStrategy, tape: Sequence[Sequence[Record]]) -> list[ObservedValues]:
    """Return what a strategy can read in each time slice."""
    out: list[ObservedValues] = []
    probe = _probe(strategy, sorted({one.symbol for one in tape[0] if type(one) is Bar}), out.append)
    stage, features = TradingStrategyStage([probe], SETTINGS), FeatureStage(row_features(probe))
    for records in tape:
        ts_ns = max(record.ts_ns for record in records if type(record) is Bar)
        stage.on_slice(ts_ns, [*records, *features.on_slice(ts_ns, records)])
    return out


def _probe(
    strategy: Strategy | TradingStrategy, universe: Sequence[str], publish: Callable[[ObservedValues], None]
) -> TradingStrategy:
    """Return a strategy that publishes all values which `strategy` declares."""

    class Probe(TradingStrategy):
        symbols = tuple(universe)
        features = strategy.features
        history = strategy.history if isinstance(strategy, TradingStrategy) else {}
        bar_source = strategy.bar_source if isinstance(strategy, TradingStrategy) else "bars"

        def on_slice(self, ctx: TradingContext) -> None:
            if any(symbol in ctx.closed(shortest) for symbol in universe):
                ctx.state["bars"] = ctx.state.get("bars", 0) + 1
            publish(ObservedValues(ctx.state.get("bars", 0), _values(ctx)))

    probe = Probe()
    declared = check_declarations(probe, SETTINGS, MarketNeeds(SETTINGS.bar_interval, has_trades=True))
    shortest = interval_text(declared.warm_up_interval)

    def _values(ctx: TradingContext) -> Values:
        values: Values = {}
        for symbol in universe:
            for length, names in declared.feature_names.items():
                interval = interval_text(length)
                values |= {(symbol, interval, name): ctx.feature(symbol, name, interval) for name in sorted(names)}
            for length in declared.history_sizes:
                interval = interval_text(length)
                values[symbol, interval, "bars"] = len(ctx.history(symbol, interval)["close"])
        return values

    return probe


def _means(values: Iterable[Values]) -> dict[tuple[str, str, str], float]:
    """Return the mean absolute value of each indicator."""
    sums: dict[tuple[str, str, str], list[float]] = {}
    for one in values:
        for key, value in one.items():
            if value is not None:
                sums.setdefault(key, []).append(abs(value))
    return {key: sum(found) / len(found) for key, found in sums.items()}


def _agree(early: Any, late: Any, mean: float) -> bool:
    if early is None:
        return True  # not known with more bars either
    return late is not None and abs(early - late) <= TOLERANCE * max(mean, abs(early))
