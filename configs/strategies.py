"""Load the strategies that the settings name, including those from the user's own files."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from configs.indicator_files import register_indicator_files
from configs.read_only import read_only, reject_change
from configs.settings import Settings
from configs.settings.analysis import StrategyEntry
from configs.source_files import declaration_position, load_module, loaded_sha256, on_one_line
from configs.strategy_objects import find_object
from configs.symbol_parameters import by_symbol
from operators.indicators import build
from operators.indicators.of_interval import interval_of
from operators.portfolio import PortfolioSettings
from operators.raised_error import describe_error, source_file
from operators.strategies import READABLE, STRATEGIES, Strategy, TradingStrategy, UniverseFile, reads_of
from operators.strategy_limits import NO_LIMITS, StrategyLimits
from operators.trading.intervals import SECOND_NS, interval_text, parse_interval, time_interval_ns
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

_DECLARATIONS = (
    *("name", "features", "reads", "decide"),
    *("symbols", "history", "events", "data", "warm_up", "universe", "bar_source"),
)
"""What a strategy declares, maybe as a property."""
_UNKNOWN_ARGUMENT = re.compile("unexpected keyword argument|takes exactly one argument|takes no arguments")
"""What Python raises for a name that no class of the strategy accepts."""


class ConfiguredStrategies(NamedTuple):
    """The strategies of the settings, in order, by form.

    `capital` is the share of equity by strategy, without shares of 1. `flatten_on_error` are the strategies whose views
    and positions end when they are suspended. `limits` are those of the strategies that have some, and `time_limits`
    the processor seconds of a handler of the strategies that have their own. `source_sha256` are the hashes of the
    user's files, by strategy: its own file, then all indicator files, because a strategy receives the values of all
    indicators. A strategy without such files is not in it.
    """

    views: list[Strategy]
    trading: list[TradingStrategy]
    capital: dict[str, Decimal]
    flatten_on_error: frozenset[str]
    limits: dict[str, StrategyLimits]
    time_limits: dict[str, float]
    source_sha256: dict[str, tuple[str, ...]]

    @property
    def limited_views(self) -> tuple[str, ...]:
        """The names of the view strategies with limits."""
        return tuple(one.name for one in self.views if one.name in self.limits)


def configured_strategies(settings: Settings) -> ConfiguredStrategies:
    """Return the strategies of the settings, after registering the user's own indicators.

    Raises BadInput like `load_strategies` and `register_indicator_files`, and for limits or a capital share of a view
    strategy in the ensemble.
    """
    indicator_hashes = register_indicator_files(settings.features.indicator_files)
    entries = settings.signals.strategies
    loaded = {"name", "parameters", "parameters_by_symbol"}
    strategies = load_strategies([entry.model_dump(include=loaded) for entry in entries])
    by_entry = list(zip(strategies, entries, strict=True))
    for one, entry in by_entry:
        if settings.signals.ensemble.enabled and not isinstance(one, TradingStrategy):
            _check_ensemble_entry(entry)
        if entry.universe is not None:
            _use_universe_file(one, entry.name, entry.universe)
    return ConfiguredStrategies(
        views=[one for one in strategies if not isinstance(one, TradingStrategy)],
        trading=[one for one in strategies if isinstance(one, TradingStrategy)],
        capital={one.name: entry.capital for one, entry in by_entry if entry.capital != 1},
        flatten_on_error=frozenset(one.name for one, entry in by_entry if entry.on_error == "flatten"),
        limits={one.name: entry.limits for one, entry in by_entry if entry.limits != NO_LIMITS},
        time_limits={
            one.name: entry.handler_time_limit_s for one, entry in by_entry if entry.handler_time_limit_s is not None
        },
        source_sha256=_source_hashes(strategies, indicator_hashes),
    )


def _check_ensemble_entry(entry: StrategyEntry) -> None:
    """Raises BadInput for settings that a view strategy of the ensemble cannot have, because it does not trade."""
    is_set = {"limits": entry.limits != NO_LIMITS, "capital": entry.capital != 1}
    refused = [name for name in is_set if is_set[name]]
    if refused:
        verb = "applies" if refused == ["capital"] else "apply"
        raise BadInput(
            f"strategy {entry.name!r}: {' and '.join(refused)} {verb} only to strategies that trade separately, not to "
            "an ensemble; set signals.ensemble.enabled to false"
        )


def _source_hashes(
    strategies: Iterable[Strategy | TradingStrategy], indicator_hashes: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    own = {one.name: loaded_sha256(type(one).__module__) for one in strategies}
    hashes = {name: tuple(filter(None, (sha256, *indicator_hashes))) for name, sha256 in own.items()}
    return {name: one for name, one in hashes.items() if one}


def _use_universe_file(strategy: Strategy | TradingStrategy, name: str, path: str) -> None:
    """Give a strategy the universe of a file. Raises BadInput if it cannot have one."""
    if not isinstance(strategy, TradingStrategy):
        raise BadInput(f"strategy {name!r}: only a trading strategy can have a universe file, found a view strategy")
    try:
        strategy.universe = UniverseFile(path)
    except AttributeError as error:
        message = "the setting universe replaces a class attribute `universe`, found a property of that name"
        raise BadInput(f"strategy {name!r}: {message}") from error


def configured_features(settings: Settings) -> tuple[str, ...]:
    """Return the indicators that the settings and their strategies need for the bars of the feed, without repeats.

    Raises BadInput for an unknown indicator, and like `configured_strategies`.
    """
    strategies = configured_strategies(settings)
    specs = feature_specs(strategies.views, settings.features.indicators)
    check_intervals(specs, settings.market_data.bar_interval_s() * SECOND_NS)
    if not strategies.trading:
        return specs
    # Imported here because it imports NumPy, which a platform without trading strategies does not need.
    from operators.trading.declarations import features_by_interval, row_features
    from operators.trading.pair_statistics import parse_pair_spec

    def check(spec: str) -> None:
        if parse_pair_spec(spec) is None:
            build(spec)

    bar_interval = interval_text(settings.market_data.bar_interval_s() * SECOND_NS)
    for one in strategies.trading:
        for declared in features_by_interval(one, bar_interval).values():
            _check_specs(one.name, one, declared, check)
    rows = [spec for one in strategies.trading for spec in row_features(one, bar_interval)]
    return feature_specs((), [*specs, *rows])


def portfolio_settings(settings: Settings) -> PortfolioSettings:
    """Return the portfolio settings with the trading strategies and the capital of each strategy."""
    strategies = configured_strategies(settings)
    names = tuple(strategy.name for strategy in strategies.trading)
    limited = frozenset(name for name, limits in strategies.limits.items() if limits.limits_orders)
    capital = strategies.capital
    return replace(settings.portfolio(), trading_strategies=names, capital=capital, order_limited=limited)


def load_strategies(
    entries: Sequence[Mapping[str, Any]], folder: Path | None = None
) -> list[Strategy | TradingStrategy]:
    """Return one strategy per entry, in the same order.

    An entry is `{"name": "ema_cross", "parameters": {"fast": 5}}` for a strategy of the platform, or
    `{"name": "path/to/file.py:ClassName", ...}` for the user's own strategy. `parameters` is optional, and so is
    `parameters_by_symbol`, which replaces some of them for single symbols. A relative path starts at `folder` (default:
    the working directory). Loading a file runs it.

    Raises BadInput for an unknown name, file, class, parameter or indicator, for a file that fails, for a class that
    is not a strategy, for a trading strategy with parameters by symbol, and for two strategies with the same name. A
    view strategy cannot change its attributes from then on.
    """
    strategies = [_load(entry, folder or Path()) for entry in entries]
    seen: set[str] = set()
    for strategy in strategies:
        if strategy.name in seen:
            raise BadInput(f"two strategies are named {strategy.name}; set the parameter `name` of one of them")
        seen.add(strategy.name)
    return strategies


def feature_specs(strategies: Iterable[Strategy], configured: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the indicators to compute, without repeats: the `configured` ones, then those of each strategy in order.

    Raises BadInput for an unknown indicator.
    """
    specs = tuple(dict.fromkeys([*configured, *(spec for strategy in strategies for spec in strategy.features)]))
    for spec in specs:
        build(spec)
    return specs


def check_intervals(specs: Iterable[str], bar_interval_ns: int) -> None:
    """Raise BadInput for a spec such as `ema_20@15m` whose interval cannot be built from the bars of the feed."""
    for spec in specs:
        interval = interval_of(build(spec))
        length = None if interval is None else time_interval_ns(parse_interval(interval))
        if length is not None and length % bar_interval_ns:
            raise BadInput(
                f"indicator {spec!r}: the interval {interval} must be a multiple of the bars of the feed, "
                f"{interval_text(bar_interval_ns)}"
            )


def _load(entry: Mapping[str, Any], folder: Path) -> Strategy | TradingStrategy:
    own: Mapping[str, Any] = entry.get("parameters_by_symbol") or {}
    entry = {key: value for key, value in entry.items() if key != "parameters_by_symbol"}
    default = _load_one(entry, folder)
    if not own:
        return default
    if isinstance(default, TradingStrategy):
        raise BadInput(
            f"strategy {entry['name']!r} is a trading strategy, which decides for all symbols at once; only a view "
            "strategy can have parameters by symbol"
        )
    common = entry.get("parameters") or {}
    strategies = {
        symbol: _load_one({**entry, "parameters": {**common, **parameters}}, folder)
        for symbol, parameters in own.items()
    }
    views = {symbol: one for symbol, one in strategies.items() if not isinstance(one, TradingStrategy)}
    combined = _load_one(entry, folder)
    assert not isinstance(combined, TradingStrategy), "it is loaded as `default` is"
    return by_symbol(str(entry["name"]), combined, default, views)


def _load_one(entry: Mapping[str, Any], folder: Path) -> Strategy | TradingStrategy:
    unknown = sorted(set(entry) - {"name", "parameters"})
    if unknown or not isinstance(entry.get("name"), str):
        raise BadInput(f"a strategy must have a name and, optionally, parameters; found {dict(entry)}")
    name: str = entry["name"]
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, Mapping) or not all(isinstance(key, str) for key in parameters):
        raise BadInput(f"strategy {name}: parameters must be a mapping of names to values, found {parameters!r}")
    if (strategy := find_object(name)) is not None:
        return _validated(name, _from_object(name, strategy, parameters))
    if ":" in name or name.endswith(".py"):
        return _validated(name, _instantiate(name, _class_in_file(name, folder), parameters))
    if name not in STRATEGIES:
        raise BadInput(
            f"unknown strategy {name!r}{did_you_mean(name, STRATEGIES) or '.'} Known strategies:"
            f" {', '.join(STRATEGIES)}, or path/to/file.py:ClassName for your own"
        )
    return _validated(name, _instantiate(name, STRATEGIES[name], parameters))


def _class_in_file(name: str, folder: Path) -> type:
    path, _, class_name = name.rpartition(":")
    if not path.endswith(".py") or not class_name:
        raise BadInput(f"strategy {name!r}: expected path/to/file.py:ClassName")
    file = (folder / Path(path).expanduser()).resolve()
    if not file.is_file():
        raise BadInput(f"strategy {name!r}: file {file} does not exist")
    module = load_module(f"strategy {name!r}", file, "user_strategy")
    strategy_class = getattr(module, class_name, None)
    if not isinstance(strategy_class, type):
        classes = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise BadInput(
            f"strategy {name!r}: {file.name} has no class {class_name}{did_you_mean(class_name, classes) or '.'}"
            f" Its classes: {', '.join(classes) or 'none'}"
        )
    return strategy_class


def _instantiate(name: str, strategy_class: type, parameters: Mapping[str, Any]) -> Any:
    try:
        inspect.signature(strategy_class).bind(**parameters)
    except TypeError as error:
        raise BadInput(_parameter_error(name, strategy_class, parameters) or f"strategy {name!r}: {error}") from error
    try:
        return strategy_class(**parameters)
    except BadInput:
        raise
    except Exception as error:
        # A class with ** may pass an unknown name on to its base class.
        is_unknown = isinstance(error, TypeError) and _UNKNOWN_ARGUMENT.search(str(error)) is not None
        reason = _parameter_error(name, strategy_class, parameters) if is_unknown else ""
        raise BadInput(reason or f"strategy {name!r} rejects {dict(parameters)}: {on_one_line(error)}") from error


def _parameter_error(name: str, strategy_class: type, parameters: Mapping[str, Any]) -> str:
    """Return the error for a parameter that the strategy does not have, or for one without a value; "" for neither."""
    known = _parameters_of(strategy_class)
    accepted = f"Its parameters: {', '.join(known) or 'none'}"
    for one in parameters:
        if one not in known:
            return f"strategy {name!r} has no parameter {one}{did_you_mean(one, known) or '.'} {accepted}"
    missing = [
        one.name for one in known.values() if one.default is inspect.Parameter.empty and one.name not in parameters
    ]
    if missing:
        return f"strategy {name!r} needs a value for {', '.join(missing)}. {accepted}"
    return ""


def _parameters_of(strategy_class: type) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a class, and with `**` also those of its base classes."""
    known: dict[str, inspect.Parameter] = {}
    for kind in strategy_class.__mro__[:-1]:  # without `object`
        parameters = inspect.signature(kind).parameters.values()
        for one in parameters:
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
                known.setdefault(one.name, one)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return known


def _from_object(name: str, strategy: object, parameters: Mapping[str, Any]) -> Any:
    """Return an instance of a class, or a copy of an object, so that runs and shards never share one."""
    if isinstance(strategy, type):
        return _instantiate(name, strategy, parameters)
    if parameters:
        kind = type(strategy).__name__
        raise BadInput(f"strategy {name!r}: parameters apply to a class, found an object; pass {kind} itself")
    return deepcopy(strategy)


def _validated(name: str, strategy: Any) -> Strategy | TradingStrategy:
    for declaration in _DECLARATIONS:
        try:
            getattr(strategy, declaration, None)
        except Exception as error:
            described = describe_error(error, source_file(type(strategy)))
            raise BadInput(
                f"strategy {name!r}: its property `{declaration}` raises {on_one_line(error)} "
                f"({described.file}:{described.line})"
            ) from error
    label = getattr(strategy, "name", None)
    if not isinstance(label, str) or not label:
        raise BadInput(f"strategy {name!r}: `name` must be a non-empty string, found {label!r}")
    if isinstance(strategy, TradingStrategy):
        return strategy  # its stage checks what it declares
    features = getattr(strategy, "features", None)
    if not isinstance(features, tuple) or not all(isinstance(spec, str) for spec in features):
        raise BadInput(f"strategy {name!r}: `features` must be a tuple of indicator specs, found {features!r}")
    reads = reads_of(strategy)
    if not isinstance(reads, tuple) or not reads or not all(kind in READABLE for kind in reads):
        known = ", ".join(kind.__name__ for kind in READABLE)
        raise BadInput(f"strategy {name!r}: `reads` must be a tuple of record types out of {known}, found {reads!r}")
    decide = getattr(strategy, "decide", None)
    if not callable(decide):
        raise BadInput(f"strategy {name!r} has no method decide(row, state)")
    try:
        inspect.signature(decide).bind(None, None)
    except TypeError as error:
        raise BadInput(f"strategy {name!r}: decide must accept (row, state): {error}") from error
    _check_specs(repr(name), strategy, features, build)
    _make_read_only(strategy)
    validated: Strategy = strategy
    return validated


def _make_read_only(strategy: Any) -> None:
    """Make the attributes of a view strategy read-only, because a snapshot would lose a changed value.

    So are the lists, dicts and sets in them, and those of its classes. Its class becomes a subclass of the same name.
    An instance whose class cannot be changed keeps its attributes.
    """
    for attribute, value in list(getattr(strategy, "__dict__", {}).items()):
        protected = read_only(attribute, value)
        if protected is not value:
            object.__setattr__(strategy, attribute, protected)
    with suppress(TypeError):
        object.__setattr__(strategy, "__class__", _read_only(strategy.__class__))


@cache
def _read_only(kind: type) -> type:
    def refuse(self: object, attribute: str, value: object = None) -> None:
        raise reject_change(attribute)

    own: dict[str, Any] = {}
    for one in kind.__mro__[:-1]:
        for attribute, value in vars(one).items():
            if not attribute.startswith("__") and type(value) in (list, dict, set):
                own.setdefault(attribute, read_only(attribute, value))
    same_names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(
        kind.__name__, (kind,), {**own, **same_names, "__slots__": (), "__setattr__": refuse, "__delattr__": refuse}
    )


def _check_specs(
    label: str, strategy: Strategy | TradingStrategy, specs: Iterable[str], check: Callable[[str], object]
) -> None:
    """Raise BadInput with the file and line of `features` if `check` rejects a spec of a strategy."""
    for spec in specs:
        try:
            check(spec)
        except BadInput as error:
            file, line = declaration_position(type(strategy), "features")
            raise BadInput(f"strategy {label}: {error} ({file}:{line})") from error
