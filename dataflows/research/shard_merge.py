"""Split the time slices of a backtest into shards of symbols, and merge the analysed shards for the trading loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from bytewax.operators import StatefulBatchLogic

from dataflows.sources.kafka import ShardSlices
from operators.partitions import partition_of
from operators.stage import Stage, TimeSlice
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


def shard_splitter(shards: int) -> Callable[[list[ShardSlices]], list[ShardSlices]]:
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
