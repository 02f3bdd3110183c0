"""Run a backtest: bars -> features -> signals -> portfolio, risk, venue -> feedback -> report, fused in one process.

The stages are those of live trading; only the source and the sink differ. Symbols are split into shards. Each shard is
analysed separately, then the shards are merged time slice by time slice and traded in one loop
(`operators/trading_loop.py`). The result does not depend on the number of shards or workers, or on the batch size of
the source.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import cluster_main, run_main

from configs.settings import Settings, load_settings
from dataflows.replay.recorded_feed import RecordedFeed, RecordedPeriod, recorded_feed_opener, use_recorded_trades
from dataflows.research.guarded_feed import GuardedFeed
from dataflows.research.in_sample import first_slice_check
from dataflows.research.quote_check import QuoteCheck
from dataflows.research.report import Observer, ReportSink, Stopwatch
from dataflows.research.shard_merge import ShardMerge, shard_splitter
from dataflows.research.trade_check import TradeCheck
from dataflows.research.unaffordable_lots import lot_warnings
from dataflows.runtime import shutdown, stages
from dataflows.runtime.handler_watchdog import HandlerWatchdog, OnStuck, time_limits
from dataflows.runtime.stuck_calls import CallInterrupted, StuckCallWatch, needs_guards, watch_of
from dataflows.runtime.topology import GLOBAL_SHARD
from dataflows.runtime.wiring import SliceSink, SliceSource, StageLogic
from dataflows.sources.feed_scan import FeedScan
from dataflows.sources.feed_selection import (
    file_history_bars,
    files_source,
    needs_earlier_trades,
    recognize_bars,
    renamed_file_bars,
    symbol_tagger,
)
from dataflows.sources.feed_source import FeedSource, MarketFeed
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.tape.feed_with_orders import FeedWithOrders
from dataflows.sources.tape.orders import read_orders
from operators.handler_limit import HandlerLimit
from operators.performance import Performance
from schemas.errors import PlatformError

BacktestOutcome = tuple[Performance, dict[str, Any], list[str]]
"""The performance, what the summary says about the files, and warnings."""


def build(
    settings: Settings,
    source: SliceSource,
    sink: SliceSink,
    *,
    shards: int = 1,
    limit: HandlerLimit | None = None,
    explains: bool = True,
    watch: StuckCallWatch | None = None,
) -> Dataflow:
    """Build the backtest flow. `limit` is that of the handlers of trading strategies and of the calls of models.

    It is also that of view strategies and the user's own indicators, unless `watch` looks for their calls that do not
    return. Without `explains`, the flow leaves out records that only explain decisions (`stages.decision_loop`).

    Source items: (any key, time slices of Bars). Sink items: (GLOBAL_SHARD, time slices of all stage outputs).
    """
    analysis = stages.analysis(settings, limit, limits_indicators=watch is None)
    trading_loop = stages.decision_loop(settings, limit, explains=explains, limits_views=watch is None)
    guard = _unguarded if watch is None else watch.guard
    flow = Dataflow("backtest")
    time_slices = op.input("ticks", flow, source)
    sharded = op.flat_map_batch("shards", time_slices, shard_splitter(shards))
    analysed = op.stateful_batch("analysis", sharded, lambda resume: guard(StageLogic(analysis(), resume)))
    merge_inputs = op.map("gathered", analysed, lambda batch: (GLOBAL_SHARD, batch))
    traded = op.stateful_batch(
        "trading", merge_inputs, lambda resume: guard(ShardMerge(shards, trading_loop(), resume))
    )
    op.output("report", traded, sink)
    return flow


def _unguarded(logic: StatefulBatchLogic[Any, Any, Any]) -> StatefulBatchLogic[Any, Any, Any]:
    return logic


def flow() -> Dataflow:
    """Build the backtest of the files in the settings, or of the recorded topics.

    Run it with `MARKET_DATA__FILES__PATHS='["bars.csv"]' python -m bytewax.run dataflows.backtest`, or with
    `BACKTEST__SOURCE=topics`.
    """
    shutdown.install_signal_handler()
    settings = load_settings().for_backtest()
    feeds: list[FileFeed | RecordedFeed] = []
    if settings.backtest.source == "topics":
        period = recorded_period(settings, settings.backtest.symbols, with_commands=settings.backtest.commands)
        settings, period = use_recorded_trades(settings, period)
        open_feed: Callable[[], MarketFeed] = recorded_feed_opener(settings, period)
    else:
        settings, scan = recognized_bars(settings, settings.market_data.files.paths)
        open_feed = feed_opener(settings, settings.market_data.files.paths, feeds.append, scan)
    if first_slice_check(settings) is not None:
        open_feed = _guarded_opener(settings, open_feed, _raise)
    source = FeedSource(open_feed, batch_slices=256, stop_requested=shutdown.stop_requested)

    def notes(performance: Performance) -> dict[str, Any]:
        return _feed_notes(settings, feeds[-1], performance) if feeds else {}

    limit = HandlerWatchdog(time_limits(settings))
    sink = report_sink(settings, print_at_end=True, notes=notes)
    return build(settings, source, sink, limit=limit)


def recognized_bars(settings: Settings, paths: Sequence[Path]) -> tuple[Settings, FeedScan]:
    """Return the settings with the interval and session of the files, on which sizes and sessions depend."""
    files, scan = recognize_bars(settings.market_data.files, paths)
    return settings.with_file_feed(
        {"bar_interval": files.bar_interval, "bar_interval_s": None, "session": files.session}
    ), scan


def recorded_period(settings: Settings, symbols: Sequence[str] | None, *, with_commands: bool) -> RecordedPeriod:
    """Return what to read of the recorded topics, with the period of the settings; `symbols` None means all."""
    files = settings.market_data.files
    return RecordedPeriod(None if symbols is None else tuple(symbols), files.start_ns, files.end_ns, with_commands)


class _RunOptions(NamedTuple):
    """What `run` reads and how."""

    settings: Settings
    bars: Sequence[Path] | RecordedPeriod
    scan: FeedScan | None
    workers: int
    batch_slices: int
    progress: Callable[[Performance, float], None]
    orders: Path | None
    make_observers: Callable[[], Sequence[Observer]]
    on_stuck: OnStuck
    explains: bool


def run(
    settings: Settings,
    bars: Sequence[Path] | RecordedPeriod,
    *,
    workers: int = 1,
    batch_slices: int = 256,
    progress: Callable[[Performance, float], None] = lambda performance, share: None,
    orders: Path | None = None,
    make_observers: Callable[[], Sequence[Observer]] = tuple,
    on_stuck: OnStuck = lambda timeout: None,
    explains: bool = True,
) -> tuple[Performance, dict[str, Any]]:
    """Run to the end of the bars. Return the performance and its summary with wall-clock `elapsed_s` and `bars_per_s`.

    `bars` are files and folders, or a period of the topics in `settings.kafka`. `progress` receives, after every batch,
    the performance so far and the share of the files read (0 to 1; 0 for topics). `orders` is a file of orders
    (`dataflows/sources/tape/orders.py`). `make_observers` returns functions that receive the records of each time
    slice. `on_stuck` receives, in another thread, the timeout of a call that exceeds its time limit and cannot be
    interrupted: of a handler, a view strategy or an indicator of the user. Without `explains`, the observers do not
    receive the records that only explain decisions (`build`), which is faster. The summary has `warnings`, a list of
    sentences, if there are any.

    If a view strategy or an indicator of the user does not return, the run starts again with new observers and a
    measurement of each call. It then suspends the strategy, or the indicator for its symbol, at this call.

    Raises BadInput if the settings, files or orders are invalid, and Unavailable if Kafka does not respond.
    """
    stopwatch = Stopwatch()
    scan, interval_warnings = None, []
    if isinstance(bars, RecordedPeriod):
        settings, bars = use_recorded_trades(settings, bars)
    else:
        files = settings.market_data.files
        settings, scan = recognized_bars(settings, bars or files.paths)
        interval_warnings = scan.interval_warnings(files)
    options = _RunOptions(
        settings, bars, scan, workers, batch_slices, progress, orders, make_observers, on_stuck, explains
    )
    outcome = None if needs_guards(settings) else _run_once(options, measures_calls=False)
    performance, notes, warnings = outcome or _run_measured(options)
    elapsed_s = stopwatch.seconds()
    summary = performance.summary() | notes
    if warnings := [*warnings, *interval_warnings, *summary.pop("warnings", [])]:
        summary["warnings"] = warnings
    return performance, summary | {
        "elapsed_s": round(elapsed_s, 3),
        "bars_per_s": round(summary["bars"] / elapsed_s),
    }


def _run_measured(options: _RunOptions) -> BacktestOutcome:
    outcome = _run_once(options, measures_calls=True)
    assert outcome is not None, "only a run that does not measure its calls is given up"
    return outcome


def _run_once(options: _RunOptions, *, measures_calls: bool) -> BacktestOutcome | None:
    """Run to the end of the bars. Return None if a call was interrupted that only a run with `measures_calls` ends."""
    settings, bars, orders = options.settings, options.bars, options.orders
    feeds: list[FileFeed | RecordedFeed] = []
    order_feeds: list[FeedWithOrders] = []
    quotes, trades = QuoteCheck(settings.venue()), TradeCheck(settings.for_backtest())
    observers = options.make_observers()
    checks = [check.observe for check in (quotes, trades) if check.is_needed]
    sink = report_sink(
        settings.for_backtest(),
        progress=lambda performance: options.progress(performance, feeds[-1].share_read),
        observers=[*observers, *checks],
    )
    open_feed = feed_opener(settings, bars, feeds.append, options.scan)
    if orders is not None:
        open_feed = _orders_opener(settings, open_feed, orders, order_feeds.append)
    watch = None if measures_calls else watch_of(settings, options.on_stuck)
    errors: list[PlatformError] = []
    open_feed = _guarded_opener(settings, open_feed, errors.append, watch)
    source = FeedSource(open_feed, batch_slices=options.batch_slices, at_end="stop")
    limit = HandlerWatchdog(time_limits(settings), on_stuck=options.on_stuck)
    dataflow = build(
        settings.for_backtest(),
        source,
        sink,
        shards=options.workers,
        limit=limit,
        explains=options.explains and bool(observers),
        watch=watch,
    )
    try:
        with reduced_gc(), watch or contextlib.nullcontext():
            if options.workers == 1:
                run_main(dataflow)
            else:
                cluster_main(dataflow, [], 0, worker_count_per_proc=options.workers)
    except (BytewaxRuntimeError, CallInterrupted) as error:
        if watch is None or not watch.is_interrupted:
            raise _root_cause(error) from error
    if watch is not None and watch.is_interrupted:
        return None
    if errors:
        raise errors[0]
    warnings = order_feeds[-1].check_end(orders.name) if orders is not None else []
    notes = _feed_notes(settings, feeds[-1], sink.performance)
    return sink.performance, notes, [*warnings, *quotes.warnings(), *trades.warnings()]


def _feed_notes(settings: Settings, feed: FileFeed | RecordedFeed, performance: Performance) -> dict[str, Any]:
    """Return what the summary says about files: interval, session, whether the data is doubtful, and `warnings`."""
    if not isinstance(feed, FileFeed):
        return {}
    notes: dict[str, Any] = {"bar_interval": feed.settings.bar_interval, "session": feed.settings.session}
    if warnings := feed.warnings():
        notes["doubtful_data"] = True
    if performance.counts["signals"]:
        valuation = performance.last_valuation
        equity = performance.initial_equity if valuation is None else valuation.equity
        warnings += lot_warnings(settings.for_backtest(), equity, feed.last_closes)
    return notes | ({"warnings": warnings} if warnings else {})


def feed_opener(
    settings: Settings,
    bars: Sequence[Path] | RecordedPeriod,
    on_open: Callable[[FileFeed | RecordedFeed], None],
    scan: FeedScan | None,
) -> Callable[[], MarketFeed]:
    """Return a function that opens the feed. `on_open` receives the feed; `scan` is the scan of the files."""
    if not isinstance(bars, RecordedPeriod):
        files, tag = settings.market_data.files, symbol_tagger(settings)
        loaded = settings.for_backtest()
        return files_source(
            files,
            bars,
            on_open=on_open,
            tag=tag,
            scan=scan,
            history_bars=file_history_bars(loaded),
            renamed_bars=renamed_file_bars(loaded),
            with_trades=needs_earlier_trades(loaded),
        ).open_feed
    open_recorded = recorded_feed_opener(settings, bars)

    def open_feed() -> MarketFeed:
        on_open(feed := open_recorded())
        return feed

    return open_feed


def _orders_opener(
    settings: Settings, open_feed: Callable[[], MarketFeed], file: Path, on_open: Callable[[FeedWithOrders], None]
) -> Callable[[], MarketFeed]:
    """Return a function that opens a feed with the orders of a file. Reads the file now. Raises BadInput."""
    orders = read_orders(file, settings.market_data.files)

    def open_with_orders() -> MarketFeed:
        on_open(feed := FeedWithOrders(open_feed(), orders, settings.market_data.files.start_ns))
        return feed

    return open_with_orders


def _guarded_opener(
    settings: Settings,
    open_feed: Callable[[], MarketFeed],
    on_error: Callable[[PlatformError], None],
    watch: StuckCallWatch | None = None,
) -> Callable[[], MarketFeed]:
    """Return a function that opens a feed whose errors go to `on_error`, the use of a model in sample among them.

    The feed ends when `watch` has interrupted a call.
    """
    check = first_slice_check(settings)
    return lambda: GuardedFeed(open_feed(), on_error, check, lambda: watch is not None and watch.is_interrupted)


def _raise(error: PlatformError) -> None:
    raise error


def report_sink(settings: Settings, **options: Any) -> ReportSink:
    return ReportSink(
        settings.portfolio_manager.initial_capital,
        days_a_year=settings.days_a_year(),
        multipliers={one.symbol: one.multiplier for one in settings.instruments.listed if one.multiplier != 1},
        **options,
    )


@contextlib.contextmanager
def reduced_gc() -> Iterator[None]:
    """Collect garbage less often: records are tuples without cycles, and the default costs 4 % of a run (measured)."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _root_cause(error: BaseException) -> BaseException:
    """Return the error raised in our own code, below the engine's BytewaxRuntimeError."""
    while isinstance(error, BytewaxRuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error
