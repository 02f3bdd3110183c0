"""Run a backtest: bars -> features -> signals -> portfolio, risk, venue -> feedback -> report, fused in one process.

The stages are those of live trading; only the source and the sink differ. Symbols are split into shards. Each shard is
analysed separately, then the shards are merged time slice by time slice and traded in one loop
(`operators/trading_loop.py`). The result does not depend on the number of shards or workers, or on the batch size of
the source.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

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
from dataflows.research.trade_check import TradeCheck
from dataflows.research.unaffordable_lots import lot_warnings
from dataflows.runtime import shutdown, stages
from dataflows.runtime.handler_watchdog import HandlerWatchdog, OnStuck, time_limits
from dataflows.runtime.stuck_calls import watch_of
from dataflows.runtime.topology import GLOBAL_SHARD
from dataflows.runtime.wiring import SliceSink, SliceSource, StageLogic
from dataflows.sources.feed_scan import FeedScan
from dataflows.sources.feed_selection import (
    file_history_bars,
    files_source,
    recognize_bars,
    renamed_file_bars,
    symbol_tagger,
)
from dataflows.sources.feed_source import FeedSource, MarketFeed
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.kafka import ShardSlices
from dataflows.sources.tape.feed_with_orders import FeedWithOrders
from dataflows.sources.tape.orders import read_orders
from operators.handler_limit import HandlerLimit
from operators.partitions import partition_of
from operators.performance import Performance
from operators.stage import Stage, TimeSlice
from schemas.errors import PlatformError
from schemas.records import BY_SYMBOL, CorporateAction, ExchangeRate, FeatureRow, HistoryRow, Record, has_symbol

VERSION = 1
AnalysedShard = tuple[str, list[TimeSlice]]
_BROADCAST = frozenset({CorporateAction, ExchangeRate})
"""Record types without a symbol that every feature shard reads (`dataflows/runtime/topology.py`)."""


_ROW_TYPES = (FeatureRow, HistoryRow)


class ShardMerge(StatefulBatchLogic[AnalysedShard, list[TimeSlice], Any]):
    """Merges the time slices of all shards and runs the trading loop, which needs every symbol, on each."""

    def __init__(self, shards: int, loop: Stage, resume: Any) -> None:
        self._shards, self._loop = shards, loop
        self._pending: dict[str, list[TimeSlice]] = {}
        if resume is not None:
            version, state = resume
            assert version == VERSION, f"shard merge state of version {version}, expected {VERSION}"
            loop.restore(state)

    def on_batch(self, values: list[AnalysedShard]) -> tuple[list[list[TimeSlice]], bool]:
        if self._shards == 1:
            out = [
                [self._run_trading_loop(time_slice.ts_ns, time_slice.records) for time_slice in time_slices]
                for _, time_slices in values
            ]
            return out, StatefulBatchLogic.RETAIN
        for shard, time_slices in values:
            self._pending.setdefault(shard, []).extend(time_slices)
        ready = min(map(len, self._pending.values())) if len(self._pending) == self._shards else 0
        shard_slices = [self._pending[shard] for shard in sorted(self._pending)] if ready else []
        merged_slices = [self._merge([time_slices[i] for time_slices in shard_slices]) for i in range(ready)]
        for time_slices in self._pending.values():
            del time_slices[:ready]
        return [merged_slices], StatefulBatchLogic.RETAIN

    def _merge(self, shard_slices: list[TimeSlice]) -> TimeSlice:
        assert len({shard_slice.ts_ns for shard_slice in shard_slices}) == 1, "shards of one feed have the same clocks"
        # Broadcast records reached every shard; only the first shard passes them on.
        first, *other_slices = shard_slices
        records = [
            *first.records,
            *(
                record
                for shard_slice in other_slices
                for record in shard_slice.records
                if type(record) not in _BROADCAST
            ),
        ]
        records.sort(key=_sort_key)
        return self._run_trading_loop(shard_slices[0].ts_ns, records)

    def _run_trading_loop(self, ts_ns: int, records: Iterable[Record]) -> TimeSlice:
        inputs = list(records)
        outputs = self._loop.on_slice(ts_ns, inputs)
        return TimeSlice(ts_ns, [record for record in inputs if type(record) not in _ROW_TYPES] + outputs)

    def on_eof(self) -> tuple[list[list[TimeSlice]], bool]:
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        # All parts of one source batch travel in one epoch, so none is pending when the epoch ends.
        assert not any(self._pending.values()), "a shard did not deliver its time slice within the epoch"
        return (VERSION, self._loop.snapshot())


def build(
    settings: Settings,
    source: SliceSource,
    sink: SliceSink,
    *,
    shards: int = 1,
    limit: HandlerLimit | None = None,
    explains: bool = True,
) -> Dataflow:
    """Build the backtest flow. `limit` is that of the handlers of trading strategies.

    Without `explains`, the flow leaves out records that only explain decisions (`stages.decision_loop`).

    Source items: (any key, time slices of Bars). Sink items: (GLOBAL_SHARD, time slices of all stage outputs).
    """
    analysis = stages.analysis(settings)
    trading_loop = stages.decision_loop(settings, limit, explains=explains)
    flow = Dataflow("backtest")
    time_slices = op.input("ticks", flow, source)
    sharded = op.flat_map_batch("shards", time_slices, _shard_splitter(shards))
    analysed = op.stateful_batch("analysis", sharded, lambda resume: StageLogic(analysis(), resume))
    merge_inputs = op.map("gathered", analysed, lambda batch: (GLOBAL_SHARD, batch))
    traded = op.stateful_batch("trading", merge_inputs, lambda resume: ShardMerge(shards, trading_loop(), resume))
    op.output("report", traded, sink)
    return flow


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
        settings, scan = _recognize_bars(settings, settings.market_data.files.paths)
        open_feed = _feed_opener(settings, settings.market_data.files.paths, feeds.append, scan)
    if first_slice_check(settings) is not None:
        open_feed = _guarded_opener(settings, open_feed, _raise)
    source = FeedSource(open_feed, batch_slices=256, stop_requested=shutdown.stop_requested)

    def notes(performance: Performance) -> dict[str, Any]:
        return _feed_notes(settings, feeds[-1], performance) if feeds else {}

    limit = HandlerWatchdog(time_limits(settings))
    sink = _report_sink(settings, print_at_end=True, notes=notes)
    return build(settings, source, sink, limit=limit)


def _recognize_bars(settings: Settings, paths: Sequence[Path]) -> tuple[Settings, FeedScan]:
    """Return the settings with the interval and session of the files, on which sizes and sessions depend."""
    files, scan = recognize_bars(settings.market_data.files, paths)
    return settings.with_file_feed(
        {"bar_interval": files.bar_interval, "bar_interval_s": None, "session": files.session}
    ), scan


def recorded_period(settings: Settings, symbols: Sequence[str] | None, *, with_commands: bool) -> RecordedPeriod:
    """Return what to read of the recorded topics, with the period of the settings; `symbols` None means all."""
    files = settings.market_data.files
    return RecordedPeriod(None if symbols is None else tuple(symbols), files.start_ns, files.end_ns, with_commands)


def run(
    settings: Settings,
    bars: Sequence[Path] | RecordedPeriod,
    *,
    workers: int = 1,
    batch_slices: int = 256,
    progress: Callable[[Performance, float], None] = lambda performance, share: None,
    orders: Path | None = None,
    observers: Sequence[Observer] = (),
    on_stuck: OnStuck = lambda timeout: None,
) -> tuple[Performance, dict[str, Any]]:
    """Run to the end of the bars. Return the performance and its summary with wall-clock `elapsed_s` and `bars_per_s`.

    `bars` are files and folders, or a period of the topics in `settings.kafka`. `progress` receives, after every batch,
    the performance so far and the share of the files read (0 to 1; 0 for topics). `orders` is a file of orders
    (`dataflows/sources/tape/orders.py`). `observers` receive the records of each time slice. `on_stuck`
    receives, in another thread, the timeout of a call that exceeds its time limit and cannot be interrupted: of a
    handler, a view strategy or an indicator of the user. The summary has `warnings`, a list of sentences, if there are
    any.

    Raises BadInput if the settings, files or orders are invalid, and Unavailable if Kafka does not respond.
    """
    stopwatch = Stopwatch()
    feeds: list[FileFeed | RecordedFeed] = []
    order_feeds: list[FeedWithOrders] = []

    def report_progress(performance: Performance) -> None:
        progress(performance, feeds[-1].share_read)

    scan, interval_warnings = None, []
    if isinstance(bars, RecordedPeriod):
        settings, bars = use_recorded_trades(settings, bars)
    else:
        files = settings.market_data.files
        settings, scan = _recognize_bars(settings, bars or files.paths)
        interval_warnings = scan.interval_warnings(files)
    quotes, trades = QuoteCheck(settings.venue()), TradeCheck(settings.for_backtest())
    all_observers = [*observers, *(check.observe for check in (quotes, trades) if check.is_needed)]
    sink = _report_sink(settings.for_backtest(), progress=report_progress, observers=all_observers)
    open_feed = _feed_opener(settings, bars, feeds.append, scan)
    if orders is not None:
        open_feed = _orders_opener(settings, open_feed, orders, order_feeds.append)
    errors: list[PlatformError] = []
    open_feed = _guarded_opener(settings, open_feed, errors.append)
    source = FeedSource(open_feed, batch_slices=batch_slices, at_end="stop")
    limit = HandlerWatchdog(time_limits(settings), on_stuck=on_stuck)
    dataflow = build(settings.for_backtest(), source, sink, shards=workers, limit=limit, explains=bool(observers))
    try:
        with _reduced_gc(), watch_of(settings, on_stuck):
            if workers == 1:
                run_main(dataflow)
            else:
                cluster_main(dataflow, [], 0, worker_count_per_proc=workers)
    except BytewaxRuntimeError as error:
        raise _root_cause(error) from error
    if errors:
        raise errors[0]
    elapsed_s = stopwatch.seconds()
    summary = sink.performance.summary()
    warnings = order_feeds[-1].check_end(orders.name) if orders is not None else []
    summary |= _feed_notes(settings, feeds[-1], sink.performance)
    if warnings := [
        *warnings,
        *interval_warnings,
        *quotes.warnings(),
        *trades.warnings(),
        *summary.pop("warnings", []),
    ]:
        summary["warnings"] = warnings
    return sink.performance, summary | {
        "elapsed_s": round(elapsed_s, 3),
        "bars_per_s": round(summary["bars"] / elapsed_s),
    }


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


def _feed_opener(
    settings: Settings,
    bars: Sequence[Path] | RecordedPeriod,
    on_open: Callable[[FileFeed | RecordedFeed], None],
    scan: FeedScan | None,
) -> Callable[[], MarketFeed]:
    """Return a function that opens the feed of files or topics. `on_open` receives the feed; `scan` is of the files."""
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
    settings: Settings, open_feed: Callable[[], MarketFeed], on_error: Callable[[PlatformError], None]
) -> Callable[[], MarketFeed]:
    """Return a function that opens a feed whose errors go to `on_error`, the use of a model in sample among them."""
    check = first_slice_check(settings)
    return lambda: GuardedFeed(open_feed(), on_error, check)


def _raise(error: PlatformError) -> None:
    raise error


def _report_sink(settings: Settings, **options: Any) -> ReportSink:
    return ReportSink(
        settings.portfolio_manager.initial_capital,
        days_a_year=settings.days_a_year(),
        multipliers={one.symbol: one.multiplier for one in settings.instruments.listed if one.multiplier != 1},
        **options,
    )


@contextlib.contextmanager
def _reduced_gc() -> Iterator[None]:
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


def _shard_splitter(shards: int) -> Callable[[list[ShardSlices]], list[ShardSlices]]:
    """Send every time slice to every shard, with the records of the shard's symbols.

    Records without a symbol go to the first shard; those that the analysis reads (`_BROADCAST`) go to all shards.
    """

    def split(items: list[ShardSlices]) -> list[ShardSlices]:
        out: list[ShardSlices] = []
        for _, time_slices in items:
            if shards == 1:
                out.append(("0", time_slices))
                continue
            slices_by_shard: list[list[TimeSlice]] = [[] for _ in range(shards)]
            for ts_ns, records in time_slices:
                records_by_shard: list[list[Record]] = [[] for _ in range(shards)]
                for record in records:
                    if type(record) in _BROADCAST:
                        for shard_records in records_by_shard[1:]:
                            shard_records.append(record)
                    shard = partition_of(record.symbol, shards) if has_symbol(record) else 0
                    records_by_shard[shard].append(record)
                for shard_slices, shard_records in zip(slices_by_shard, records_by_shard, strict=True):
                    shard_slices.append(TimeSlice(ts_ns, shard_records))
            out += [(str(shard), shard_slices) for shard, shard_slices in enumerate(slices_by_shard)]
        return out

    return split


def _sort_key(record: Any) -> tuple[float, str, int]:
    """Sort records with a symbol by (time, symbol, seq), as aligned logs do; records without a symbol come last."""
    return (record.ts_ns, record.symbol, record.seq) if type(record) in BY_SYMBOL else (inf, "", 0)
