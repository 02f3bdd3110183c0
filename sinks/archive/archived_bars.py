"""Look up bars in archived partitions of the table `bars`, for readers of the whole history."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from schemas.records import Bar
from sinks.archive.table_archive import ArchivedPartition, TableArchive

if TYPE_CHECKING:
    import numpy as np

_CACHED_FILES = 2


class _BarColumns(NamedTuple):
    """The columns of one file, ordered by symbol and time. `ranges` has the first and end row of each symbol."""

    ranges: dict[str, tuple[int, int]]
    ts_ns: np.ndarray
    close: np.ndarray
    traded: np.ndarray
    trading_day: np.ndarray


class ArchivedBars:
    """The bars in `partitions`, oldest first. Methods raise Unavailable if a file is missing or damaged.

    The files that were read last stay in memory: about 25 bytes for each bar.
    """

    def __init__(self, archive: TableArchive, partitions: Sequence[ArchivedPartition]) -> None:
        self._archive, self._partitions = archive, partitions
        self._columns = lru_cache(_CACHED_FILES)(self._read_columns)

    def last_close(self, symbol: str, ts_ns: int, *, traded_only: bool) -> tuple[int, float] | None:
        """Return time and close of the last bar at or before a time; with `traded_only`, of the last with trades."""
        for partition in reversed(self._partitions):
            if partition.first_ns > ts_ns:
                continue
            columns = self._columns(partition)
            first, end = columns.ranges.get(symbol, (0, 0))
            row = first + int(columns.ts_ns[first:end].searchsorted(ts_ns, "right")) - 1
            if traded_only and row >= first:
                with_trades = columns.traded[first : row + 1].nonzero()[0]
                row = first + int(with_trades[-1]) if len(with_trades) else -1
            if row >= first and end:
                return int(columns.ts_ns[row]), float(columns.close[row])
        return None

    def first_ns(self, from_ns: int, from_day: int, symbol: str | None = None) -> int | None:
        """Return the time of the first bar from `from_ns` on whose trading day is `from_day` (yyyymmdd) or later."""
        for partition in self._partitions:
            if partition.last_ns < from_ns:
                continue
            columns = self._columns(partition)
            first, end = (0, len(columns.ts_ns)) if symbol is None else columns.ranges.get(symbol, (0, 0))
            times, days = columns.ts_ns[first:end], columns.trading_day[first:end]
            found = times[(times >= from_ns) & (days >= from_day)]
            if len(found):
                return int(found.min())
        return None

    def closes(
        self, after_ns: int, *, daily: bool, symbols: Collection[str] = ()
    ) -> Iterator[tuple[str, int, int, float]]:
        """Yield symbol, trading day, time and close of the bars after a time, oldest first for each symbol of a file.

        With `daily`, only the last bar of each trading day of a file. `symbols` limits the symbols; empty means all.
        """
        for partition in self._partitions:
            if partition.last_ns <= after_ns:
                continue
            columns = self._columns(partition)
            for symbol, (first, end) in columns.ranges.items():
                if symbols and symbol not in symbols:
                    continue
                days = columns.trading_day[first:end]
                is_chosen = columns.ts_ns[first:end] > after_ns
                if daily:
                    is_chosen[:-1] &= days[1:] != days[:-1]
                for row in is_chosen.nonzero()[0]:
                    yield symbol, int(days[row]), int(columns.ts_ns[first + row]), float(columns.close[first + row])

    def between(self, symbol: str, first_ns: int, last_ns: int) -> Iterator[Bar]:
        """Yield the bars of a symbol that overlap [`first_ns`, `last_ns`], in order of time."""
        for partition in self._partitions:
            if partition.last_ns > first_ns and partition.first_ns <= last_ns:
                for bar in self._archive.records(Bar, partition, symbol):
                    if bar.ts_ns > first_ns and bar.open_ns <= last_ns:
                        yield bar

    def _read_columns(self, partition: ArchivedPartition) -> _BarColumns:
        names = ("ts_ns", "close", "traded", "trading_day")
        table = self._archive.columns(partition, ("symbol", *names))
        # Rows are ordered by symbol, so the numbers of the symbols in order of their first row never fall.
        symbols = table["symbol"].combine_chunks().dictionary_encode()
        numbers, listed = symbols.indices.to_numpy(), symbols.dictionary.to_pylist()
        starts = numbers.searchsorted(range(len(listed) + 1))
        ranges = {symbol: (int(starts[n]), int(starts[n + 1])) for n, symbol in enumerate(listed)}
        return _BarColumns(ranges, *(table[name].to_numpy() for name in names))
