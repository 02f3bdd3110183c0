"""Run a backtest from Python: the same stages, and the same decision hash, as `python cli.py backtest`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import pandas as pd

from configs.recorded_settings import recorded_text
from configs.settings import Settings, is_overridden, load_settings
from configs.settings.feeds import EXTRA_FILE_KINDS
from configs.strategy_objects import named_strategy
from dataflows import backtest as fused
from dataflows.replay.recorded_feed import RecordedPeriod
from dataflows.research.bar_sources import recorded_symbols, selected_symbols
from dataflows.research.frame_files import arrow_table
from dataflows.research.frames import RUN_FRAME_NAMES, SIGNALS, Frame
from dataflows.research.loaded_bars import BarsArgument, bar_files, bar_paths, symbol_names
from dataflows.research.market_tables import market_tables
from dataflows.research.recorded_platform import recorded_platform
from dataflows.research.result import RETURNS, Result
from dataflows.research.run_collector import BacktestRun, RunCollector
from dataflows.research.run_sources import SOURCE_FILES, source_table, sources_of, strategy_labels, topic_sources
from dataflows.research.run_store import RunSources, RunStore, runs_folder
from dataflows.research.stored_results import save_result
from operators.handler_limit import describe_timeout
from schemas.errors import BadInput
from schemas.records import HandlerTimeout
from schemas.suggestions import did_you_mean

SettingsInput = Settings | Mapping[str, Any] | str | Path | None
"""Settings, a settings file, or values that override the default settings, by nested keys or dotted names."""


class BacktestInputs(TypedDict, total=False):
    """The arguments of `backtest` that say what a run reads."""

    start: str | None
    end: str | None
    symbols: Iterable[str] | None
    symbol: str | None
    calendar: str | None
    session: str | None
    interval: str | None
    timezone: str | None
    files: Mapping[str, Sequence[str | Path]] | None
    allow_in_sample: bool


def backtest(
    strategy: object = None,
    bars: BarsArgument = (),
    *,
    settings: SettingsInput = None,
    parameters: Mapping[str, Any] | None = None,
    start: str | None = None,
    end: str | None = None,
    symbols: Iterable[str] | None = None,
    symbol: str | None = None,
    calendar: str | None = None,
    session: str | None = None,
    interval: str | None = None,
    timezone: str | None = None,
    orders: str | Path | None = None,
    files: Mapping[str, Sequence[str | Path]] | None = None,
    benchmark: str | None = None,
    allow_in_sample: bool = False,
    save: bool = False,
    name: str | None = None,
) -> Result:
    """Run a strategy over bars, and return its result.

    strategy    a class, an object, the name of a strategy of the platform, or `FILE.py:Class`; None: the strategies of
                the settings
    bars        CSV or Parquet files, a folder of them, recorded topics (`topics:SPY,AAPL`, `topics:` for all symbols),
                or a frame with the columns time, symbol, open, high, low, close and volume
    settings    a settings file, values such as `{"portfolio_manager.initial_capital": 50_000}`, or `Settings`; None:
                the settings of the command line, for topics those of the platform's last start
    parameters  arguments of the strategy's class
    orders      a CSV file of orders; without a strategy, the orders alone trade, unless the settings name strategies
    files       files of other records by kind: quotes, trades, reference_data, data, news, fundamentals
    benchmark   a symbol of the bars to compare with; adds alpha, beta and the information ratio
    save        whether to save the run in the store of runs, which `compare` and `python cli.py runs` read
    name        its name in the store, which implies `save`; default: the strategy and the time

    The other arguments are options of the command `backtest`, which docs/howto/backtest.md describes. Raises BadInput
    with one sentence if an argument, a setting or a file is invalid, and Unavailable if the store cannot be used.

        from dataflows.research import backtest
        result = backtest("ema_cross", "bars/", calendar="24/7")
        result.metrics["sharpe"], result.trades.head(), result.decision_hash
    """
    if name is not None:
        RunStore(runs_folder()).require_new_name(name)
    recorded = None if isinstance(bars, pd.DataFrame) else recorded_symbols(bar_paths(bars))
    if recorded is not None and files:
        raise BadInput("bars topics: have their quotes, news and other records in the topics; pass no files of them")
    inputs: BacktestInputs = {"start": start, "end": end, "symbols": symbols, "symbol": symbol, "calendar": calendar}
    inputs |= {"session": session, "interval": interval, "timezone": timezone, "files": files}
    inputs["allow_in_sample"] = allow_in_sample
    with (
        _base_settings(settings, from_topics=recorded is not None) as base,
        _strategy_settings(base, strategy, parameters, settings, has_orders=orders is not None) as chosen,
    ):
        run_settings = with_inputs(chosen, inputs)
        strategies = strategy_labels(run_settings)
        collector = RunCollector(RUN_FRAME_NAMES, benchmark, run_settings)
        orders_file = None if orders is None else Path(orders)
        with _bar_source(bars, run_settings, recorded, symbols, orders_file) as given:
            performance, summary = fused.run(
                run_settings,
                given.source,
                orders=orders_file,
                explains=False,
                make_observers=collector.make_observers,
                on_stuck=_warn_of_stuck_call,
            )
            sources = given.hashes()
        run = collector.result(performance, summary)
        result = result_of(run, run_settings, strategies, sources, given.warnings)
    return save_result(result, name) if save or name is not None else result


def result_of(
    run: BacktestRun, settings: Settings, strategies: Sequence[str], sources: RunSources, notes: Sequence[str] = ()
) -> Result:
    """Return the result of a run with its tables. `notes` are further warnings, such as those of a loaded frame."""
    tables = {name: arrow_table(run.frames.frame(name)) for name in run.frames.names}
    tables[RETURNS] = arrow_table(Frame(RETURNS, ("day", "return"), list(run.performance.daily_returns.items())))
    tables |= market_tables(run, tables.get(SIGNALS))
    if (source := source_table(settings)) is not None:
        tables[SOURCE_FILES] = source
    return Result(
        name="",
        summary=run.summary,
        settings=json.loads(recorded_text(settings)),
        strategies=tuple(strategies),
        warnings=[*dict.fromkeys([*notes, *run.summary.get("warnings", ()), *_suspension_warnings(run)])],
        sources=sources,
        tables=tables,
    )


def _suspension_warnings(run: BacktestRun) -> list[str]:
    return [
        f"strategy {one.strategy} was suspended: {one.error_type}: {one.message} ({one.file}:{one.line})"
        for one in run.performance.suspensions
    ]


class _BarSource(NamedTuple):
    """What a run reads, the function that hashes it after the run, and what was wrong with it before."""

    source: list[Path] | RecordedPeriod
    hashes: Callable[[], RunSources]
    warnings: list[str]


@contextmanager
def _bar_source(
    bars: BarsArgument,
    settings: Settings,
    recorded: list[str] | None,
    symbols: Iterable[str] | None,
    orders: Path | None,
) -> Iterator[_BarSource]:
    """Yield the files or the recorded period to read. `recorded` are the symbols of `topics:`, None for files."""
    if recorded is not None:
        chosen = selected_symbols(recorded, symbol_names(symbols))
        period = fused.recorded_period(settings, chosen, with_commands=False)
        yield _BarSource(period, lambda: topic_sources(settings, f"topics:{','.join(chosen or ())}"), [])
        return
    with bar_files(bars, settings) as given:
        data = ["frame"] if isinstance(bars, pd.DataFrame) else None
        yield _BarSource(given.paths, lambda: sources_of(settings, given.paths, orders, data=data), given.warnings)


@contextmanager
def _base_settings(settings: SettingsInput, *, from_topics: bool) -> Iterator[Settings]:
    """Yield the settings. For topics, use the platform's Kafka, and its last settings unless some are passed."""
    if not from_topics:
        yield settings_of(settings)
        return
    with recorded_platform() as platform:
        yield platform if settings is None else settings_of(settings).model_copy(update={"kafka": platform.kafka})


def with_inputs(settings: Settings, inputs: BacktestInputs) -> Settings:
    """Return the settings with what a run reads. Raises BadInput."""
    files = {kind: [Path(path) for path in paths] for kind, paths in _kinds(inputs.get("files"))}
    names = ("start", "end", "symbol", "calendar", "session", "timezone")
    feed = {name: inputs.get(name) for name in names}
    values = _feed_values(feed, inputs.get("symbols"), inputs.get("interval"))
    chosen = settings.with_files(files).with_file_feed(values)
    return chosen.allowing_in_sample() if inputs.get("allow_in_sample") else chosen


def settings_of(settings: SettingsInput) -> Settings:
    """Return the settings for the argument `settings` of `backtest`. Raises BadInput."""
    if isinstance(settings, Settings):
        return settings
    if isinstance(settings, Mapping):
        return load_settings(overrides=settings)
    return load_settings(None if settings is None else Path(settings).expanduser())


@contextmanager
def _strategy_settings(
    base: Settings,
    strategy: object,
    parameters: Mapping[str, Any] | None,
    settings: SettingsInput,
    *,
    has_orders: bool,
) -> Iterator[Settings]:
    """Yield the settings with the strategies that run. A class or an object has a name until the block ends."""
    if strategy is None:
        if parameters:
            raise BadInput("parameters need a strategy; pass one, or set signals.strategies in the settings")
        only_orders = has_orders and not _names_strategies(settings)
        yield base.with_strategies([]) if only_orders else base
    elif isinstance(strategy, str):
        yield base.with_strategies([strategy], parameters)
    else:
        with named_strategy(strategy) as name:
            yield base.with_strategies([name], parameters)


def _names_strategies(settings: SettingsInput) -> bool:
    """Whether the user's settings name strategies, so that they run beside a file of orders."""
    if isinstance(settings, Settings):
        return True
    if isinstance(settings, Mapping):
        nested = settings.get("signals")
        if "signals.strategies" in settings or (isinstance(nested, Mapping) and "strategies" in nested):
            return True
        settings = None
    return is_overridden(("signals", "strategies"), None if settings is None else Path(settings))


def _kinds(files: Mapping[str, Sequence[str | Path]] | None) -> Iterator[tuple[str, Sequence[str | Path]]]:
    """Yield the files of other records by kind. Raises BadInput for an unknown kind."""
    for kind, paths in (files or {}).items():
        if kind not in EXTRA_FILE_KINDS:
            suggestion = did_you_mean(kind, EXTRA_FILE_KINDS) or "."
            raise BadInput(f"unknown kind of files {kind!r}{suggestion} Known kinds: {', '.join(EXTRA_FILE_KINDS)}")
        yield kind, [paths] if isinstance(paths, str | Path) else paths


def _feed_values(given: Mapping[str, Any], symbols: Iterable[str] | None, interval: str | None) -> dict[str, Any]:
    """Return the values of `market_data.files` that the arguments set."""
    values = {name: value for name, value in given.items() if value is not None}
    if (names := symbol_names(symbols)) is not None:
        values["symbols"] = names
    if interval is not None:
        values |= {"bar_interval": interval, "bar_interval_s": None}
    return values


def _warn_of_stuck_call(timeout: HandlerTimeout) -> None:
    """Report a call that does not return and cannot be interrupted; this runs in another thread."""
    message = f"strategy {timeout.strategy}: {describe_timeout(timeout)} ({timeout.file}:{timeout.line})"
    warnings.warn(f"{message}. It cannot be interrupted; stop this process.", RuntimeWarning, stacklevel=2)
