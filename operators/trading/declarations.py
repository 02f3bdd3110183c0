"""Check what a trading strategy declares, before the first time slice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from operators.strategies.trading_strategy import EVERY, TradingStrategy, schedules_of
from operators.strategies.universe_rules import TopDollarVolume, UniverseFile
from operators.trading.intervals import Interval, interval_ns, is_from_trades, parse_interval
from operators.trading.market_context import Declarations
from operators.trading.market_events import EVENT_NAMES, EventName
from operators.trading.market_needs import BAR_SOURCES, BarSource, MarketNeeds
from operators.trading.pair_statistics import parse_pair_spec
from operators.trading.settings import TradingSettings
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

_NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")


def features_by_interval(strategy: TradingStrategy, bar_interval: str) -> dict[str, tuple[str, ...]]:
    """Return the declared indicator specs by interval. A tuple of specs is for the bars of the feed.

    Raises BadInput if `features` is neither a mapping nor a sequence of texts.
    """
    features: Any = strategy.features
    by_interval = features if isinstance(features, Mapping) else {bar_interval: features} if features else {}
    for interval, specs in by_interval.items():
        if isinstance(specs, str) or not isinstance(specs, Sequence) or not all(isinstance(s, str) for s in specs):
            expected = "a mapping of intervals to tuples of indicator specs"
            raise BadInput(
                f"strategy {strategy.name}: `features` must be {expected}, found {specs!r:.64} for {interval!r}"
            )
    return {interval: tuple(specs) for interval, specs in by_interval.items()}


def row_features(strategy: TradingStrategy, bar_interval: str = "1m") -> tuple[str, ...]:
    """Return the indicator specs of the feed's bars that the features service computes: those of one symbol."""
    length = interval_ns(bar_interval)
    return tuple(
        dict.fromkeys(
            spec
            for interval, specs in features_by_interval(strategy, bar_interval).items()
            if parse_interval(interval) == length
            for spec in specs
            if parse_pair_spec(spec) is None
        )
    )


def benchmarks_of(strategy: TradingStrategy) -> tuple[str, ...]:
    """Return the second symbols of the correlations and betas of a strategy. Raises BadInput for a malformed one."""
    by_interval = features_by_interval(strategy, "").values()
    pairs = [parse_pair_spec(spec) for specs in by_interval for spec in specs]
    return tuple(dict.fromkeys(pair.benchmark for pair in pairs if pair is not None))


def check_declarations(strategy: TradingStrategy, settings: TradingSettings, needs: MarketNeeds) -> Declarations:
    """Check the declarations of a strategy, and add what it needs to `needs`. Raises BadInput for an invalid one."""
    name: Any = strategy.name
    if not isinstance(name, str) or not _NAME_PATTERN.fullmatch(name):
        expected = "1 to 32 letters, digits, `_`, `-` and `.`"
        raise BadInput(f"strategy {type(strategy).__name__}: `name` must be {expected}, found {name!r:.64}")
    try:
        return _check(strategy, settings, needs)
    except BadInput as error:
        text = str(error)
        raise BadInput(text if text.startswith(f"strategy {name}") else f"strategy {name}: {text}") from error


def _check(strategy: TradingStrategy, settings: TradingSettings, needs: MarketNeeds) -> Declarations:
    symbols = _declared_symbols(strategy)
    needs.bar_source = _declared_bar_source(strategy)
    feature_names: dict[Interval, frozenset[str]] = {}
    for text, specs in features_by_interval(strategy, settings.bar_interval).items():
        interval = needs.interval_of(text)
        needs.add_interval(text)
        feature_names[interval] = feature_names.get(interval, frozenset()) | needs.add_features(text, specs)
    history: Any = strategy.history
    if not isinstance(history, Mapping):
        raise BadInput(f"`history` must be a mapping of intervals to numbers of bars, found {history!r:.64}")
    history_sizes: dict[Interval, int] = {}
    for text, size in history.items():
        needs.add_history(text, size)
        history_sizes[needs.interval_of(text)] = size
    _add_universe_rule(strategy, needs)
    declared = [*history_sizes, *feature_names]
    warm_up: Any = strategy.warm_up
    if type(warm_up) is not int or warm_up < 0:
        raise BadInput(f"`warm_up` must be a number of bars of at least 0, found {warm_up!r:.64}")
    _check_schedules(strategy, settings)
    return Declarations(
        name=strategy.name,
        bar_interval_ns=needs.bar_interval_ns,
        history_sizes=history_sizes,
        feature_names=feature_names,
        data=_declared_data(strategy),
        events=_declared_events(strategy),
        warm_up=warm_up,
        warm_up_interval=_warm_up_interval(declared, needs.bar_interval_ns),
        trade_intervals=frozenset(one for one in declared if is_from_trades(one)),
        symbols=symbols,
    )


def _declared_symbols(strategy: TradingStrategy) -> tuple[str, ...]:
    """Return the declared symbols; none for the universe of the settings."""
    symbols: Any = strategy.symbols
    if symbols is None:
        return ()
    if isinstance(symbols, str) or not symbols or not all(isinstance(one, str) and one for one in symbols):
        raise BadInput(f"`symbols` must be a tuple of symbols, or None for the universe, found {symbols!r:.64}")
    return tuple(symbols)


def _declared_bar_source(strategy: TradingStrategy) -> BarSource:
    source: Any = strategy.bar_source
    for known in BAR_SOURCES:
        if source == known:
            return known
    suggestion = did_you_mean(str(source), BAR_SOURCES) or "."
    raise BadInput(f"`bar_source` must be one of {', '.join(BAR_SOURCES)}, found {source!r:.64}{suggestion}")


def _add_universe_rule(strategy: TradingStrategy, needs: MarketNeeds) -> None:
    """Check the rule for the universe, and add the history that it needs."""
    rule: Any = strategy.universe
    if rule is not None and not isinstance(rule, TopDollarVolume | UniverseFile):
        raise BadInput(f"`universe` must be a rule such as TopDollarVolume(count=20), or None, found {rule!r:.64}")
    if isinstance(rule, TopDollarVolume):
        needs.add_history("1d", rule.days)


def _declared_data(strategy: TradingStrategy) -> frozenset[str]:
    data: Any = strategy.data
    if isinstance(data, str) or not isinstance(data, Sequence) or not all(isinstance(one, str) and one for one in data):
        raise BadInput(f'`data` must be a tuple of names of your data, such as ("vix",), found {data!r:.64}')
    return frozenset(data)


def _declared_events(strategy: TradingStrategy) -> frozenset[EventName]:
    declared: Any = strategy.events
    if isinstance(declared, str) or not isinstance(declared, Sequence):
        raise BadInput(f'`events` must be a tuple of names, such as ("quotes",), found {declared!r:.64}')
    for event in declared:
        if event not in EVENT_NAMES:
            suggestion = did_you_mean(str(event), EVENT_NAMES) or "."
            raise BadInput(f"`events` must only contain {', '.join(EVENT_NAMES)}, found {event!r:.64}{suggestion}")
    return frozenset(declared)


def _warm_up_interval(declared: Sequence[Interval], bar_interval_ns: int) -> Interval:
    """Return the shortest interval of time; if there is none, the first other interval in the order of their texts."""
    of_time = [one for one in declared if isinstance(one, int)]
    others = [one for one in declared if isinstance(one, str)]
    return min(of_time) if of_time else min(others, default=bar_interval_ns)


def _check_schedules(strategy: TradingStrategy, settings: TradingSettings) -> None:
    for handler, schedule in schedules_of(strategy):
        calendar = schedule.calendar or settings.calendar
        if schedule.kind != EVERY and not settings.sessions.get(calendar):
            known = ", ".join(sorted(settings.sessions)) or "none"
            raise BadInput(
                f"{handler} runs at a time of the calendar {calendar}, whose sessions are unknown. Known: {known}"
            )
