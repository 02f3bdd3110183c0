"""Bars -> features -> signals -> portfolio, risk, venue -> feedback -> report: the services, fused in one process.

The stages are the live ones; only the ends differ. Symbols are split into shards, analysed apart, brought together
again tick by tick, and traded in one loop (`operators/trading_loop.py`). The result does not depend on the number of
shards or workers, nor on the size of the source's batches.
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
from dataflows.research.report import ReportSink, Stopwatch
from dataflows.runtime import stages, stopping
from dataflows.runtime.topology import BOOKS
from dataflows.runtime.wiring import TickLogic, TickSink, TickSource
from dataflows.sources.files import FileFeed
from dataflows.sources.from_settings import files_source, tagger
from dataflows.sources.kafka import ShardTicks
from operators.partitions import partition_of
from operators.performance import Performance
from operators.stage import Stage, Tick
from schemas.records import BY_SYMBOL, CorporateAction, ExchangeRate, FeatureRow, Record

VERSION = 1
Piece = tuple[str, list[Tick]]
_WHOLE = frozenset({CorporateAction, ExchangeRate})
"""Without a symbol of their own, and read by every shard of features (`dataflows/runtime/topology.py`)."""


class Gathering(StatefulBatchLogic[Piece, list[Tick], Any]):
    """Brings the shards' ticks together again and decides on them: all that needs to see every symbol."""

    def __init__(self, shards: int, loop: Stage, resume: Any) -> None:
        self._shards, self._loop = shards, loop
        self._waiting: dict[str, list[Tick]] = {}
        if resume is not None:
            version, state = resume
            assert version == VERSION, f"gathering state of version {version}, expected {VERSION}"
            loop.restore(state)

    def on_batch(self, values: list[Piece]) -> tuple[list[list[Tick]], bool]:
        if self._shards == 1:
            out = [[self._trade(tick.ts_ns, tick.records) for tick in ticks] for _, ticks in values]
            return out, StatefulBatchLogic.RETAIN
        for shard, ticks in values:
            self._waiting.setdefault(shard, []).extend(ticks)
        ready = min(map(len, self._waiting.values())) if len(self._waiting) == self._shards else 0
        shards = [self._waiting[shard] for shard in sorted(self._waiting)] if ready else []
        merged = [self._merged([ticks[i] for ticks in shards]) for i in range(ready)]
        for ticks in self._waiting.values():
            del ticks[:ready]
        return [merged], StatefulBatchLogic.RETAIN

    def _merged(self, parts: list[Tick]) -> Tick:
        assert len({part.ts_ns for part in parts}) == 1, "shards of one feed see the same ticks"
        # What all shards were given is passed on by the first alone.
        first, *others = parts
        records = [*first.records, *(r for part in others for r in part.records if type(r) not in _WHOLE)]
        records.sort(key=_place)
        return self._trade(parts[0].ts_ns, records)

    def _trade(self, ts_ns: int, records: Iterable[Record]) -> Tick:
        given = list(records)
        made = self._loop.on_tick(ts_ns, given)
        return Tick(ts_ns, [record for record in given if type(record) is not FeatureRow] + made)

    def on_eof(self) -> tuple[list[list[Tick]], bool]:
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        # The pieces of one source batch travel in one epoch, so none is waiting when the epoch ends.
        assert not any(self._waiting.values()), "a tick of some shard never came"
        return (VERSION, self._loop.snapshot())


def build(settings: Settings, source: TickSource, sink: TickSink, *, shards: int = 1) -> Dataflow:
    """Items of the source: (any key, ticks of Bars). To the sink: (BOOKS, ticks of everything the stages gave)."""
    analysis, deciding = stages.analysis(settings), stages.deciding(settings)
    flow = Dataflow("backtest")
    ticks = op.input("ticks", flow, source)
    pieces = op.flat_map_batch("shards", ticks, _splitter(shards))
    analysed = op.stateful_batch("analysis", pieces, lambda resume: TickLogic(analysis(), resume))
    gathered = op.map("gathered", analysed, lambda piece: (BOOKS, piece))
    traded = op.stateful_batch("trading", gathered, lambda resume: Gathering(shards, deciding(), resume))
    op.output("report", traded, sink)
    return flow


def flow() -> Dataflow:
    """Of the files in the settings: `MARKET_DATA__FILES__PATHS='["bars.csv"]' python -m bytewax.run
    dataflows.backtest`.
    """
    stopping.install()
    settings = load_settings().of_files()
    source = files_source(settings.market_data.files, stopping=stopping.asked, tag=tagger(settings))
    return build(settings, source, ReportSink(settings.portfolio_manager.initial_capital, print_at_end=True))


def run(
    settings: Settings,
    paths: Sequence[Path],
    *,
    workers: int = 1,
    batch_ticks: int = 256,
    progress: Callable[[Performance, float], None] = lambda performance, share: None,
) -> tuple[Performance, dict[str, Any]]:
    """Run to the end of the files. Returns the run and its summary, with `elapsed_s` and `bars_per_s` of wall clock.

    `progress` is told, after every batch, the run so far and the share of the files that has been read.

    Raises BadInput where the settings or files are wrong.
    """
    watch = Stopwatch()
    feeds: list[FileFeed] = []

    def tell(performance: Performance) -> None:
        progress(performance, feeds[-1].share_read)

    sink = ReportSink(settings.portfolio_manager.initial_capital, progress=tell)
    source = files_source(
        settings.market_data.files, paths, batch_ticks=batch_ticks, opened=feeds.append, tag=tagger(settings)
    )
    wired = build(settings.of_files(), source, sink, shards=workers)
    try:
        with _few_collections():
            if workers == 1:
                run_main(wired)
            else:
                cluster_main(wired, [], 0, worker_count_per_proc=workers)
    except BytewaxRuntimeError as error:
        raise _cause(error) from error
    elapsed_s = watch.seconds()
    summary = sink.performance.summary()
    return sink.performance, summary | {
        "elapsed_s": round(elapsed_s, 3),
        "bars_per_s": round(summary["bars"] / elapsed_s),
    }


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Records are tuples without cycles: looking for garbage among them every 700 is 4 % of a run (measured)."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _cause(error: BaseException) -> BaseException:
    """What was raised in our own code, below the engine's report of it."""
    while isinstance(error, BytewaxRuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _splitter(shards: int) -> Callable[[list[ShardTicks]], list[ShardTicks]]:
    """Every shard gets every tick, with the records of its own symbols. What has no symbol goes to the first, and what
    the analysis reads of that to all (`_WHOLE`).
    """

    def split(items: list[ShardTicks]) -> list[ShardTicks]:
        out: list[ShardTicks] = []
        for _, ticks in items:
            if shards == 1:
                out.append(("0", ticks))
                continue
            pieces: list[list[Tick]] = [[] for _ in range(shards)]
            for ts_ns, records in ticks:
                parts: list[list[Record]] = [[] for _ in range(shards)]
                for record in records:
                    by_symbol = type(record) in BY_SYMBOL
                    if type(record) in _WHOLE:
                        for part in parts[1:]:
                            part.append(record)
                    shard = partition_of(record.symbol, shards) if by_symbol else 0  # type: ignore[union-attr]
                    parts[shard].append(record)
                for piece, part in zip(pieces, parts, strict=True):
                    piece.append(Tick(ts_ns, part))
            out += [(str(shard), piece) for shard, piece in enumerate(pieces)]
        return out

    return split


def _place(record: Any) -> tuple[float, str, int]:
    """What has a symbol's place in order of time, symbol and seq, as aligned logs give it; what has none last."""
    return (record.ts_ns, record.symbol, record.seq) if type(record) in BY_SYMBOL else (inf, "", 0)
