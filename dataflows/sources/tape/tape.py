"""Merge files of quotes, trades, reference data, news and fundamentals into the time slices of the bars.

A record is in the first time slice whose clock is at or after the time at which it is known, in the order of aligned
topics (`operators/alignment.py`). A backtest of the files and a platform that replays them therefore agree.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataflows.sources.rows import RowRules
from dataflows.sources.tape.companyfacts import COMPANY_FACTS_ENDING as COMPANY_FACTS
from dataflows.sources.tape.companyfacts import open_fundamentals
from dataflows.sources.tape.rules import DATA, FUNDAMENTALS, NEWS, QUOTES, REFERENCE_DATA, TRADES, TapeFileKind
from dataflows.sources.tape.tape_file import CSV_ENDINGS, JSON_ENDINGS, PARQUET_ENDINGS, TapeFile, TapeRow
from operators.bar_completion import FeedSettings
from operators.news import Tagger
from schemas.errors import BadInput
from schemas.records import DeadLetter, Quote, Record, Trade

STATE_VERSION = 1
STAGE = "market_data"
FILE_KINDS = (QUOTES, TRADES, REFERENCE_DATA, DATA, NEWS, FUNDAMENTALS)
"""In the order of their records within a time slice."""


class TapeFiles(NamedTuple):
    """Files, or folders whose CSV, JSON lines and Parquet files are read."""

    quotes: Sequence[str | Path] = ()
    trades: Sequence[str | Path] = ()
    reference_data: Sequence[str | Path] = ()
    data: Sequence[str | Path] = ()
    news: Sequence[str | Path] = ()
    fundamentals: Sequence[str | Path] = ()


def _no_symbols(text: str) -> list[str]:
    return []


class Tape:
    """The records of the files, time slice by time slice. `tag` finds the symbols of a headline without any.

    Memory does not grow with the number of rows, except that files of news, fundamentals and reference data that are
    not ordered by time are read whole. Raises BadInput if a file is missing or lacks a column.
    """

    def __init__(self, files: TapeFiles, settings: FeedSettings, tag: Tagger = _no_symbols) -> None:
        rules = RowRules(settings)
        self._symbols = None if settings.symbols is None else frozenset(settings.symbols)
        paths_by_kind = [
            (kind, path) for kind in FILE_KINDS for path in list_tape_files(kind, getattr(files, kind.name))
        ]
        self._files = [
            open_fundamentals(path, rules) if kind is FUNDAMENTALS else TapeFile(path, kind, rules, tag)
            for kind, path in paths_by_kind
        ]
        self._file_labels = [f"{kind.name}/{path.name}" for kind, path in paths_by_kind]
        self._seqs: dict[str, int] = {}  # of quotes, by symbol
        self._trade_seqs: dict[str, int] = {}
        self._merged_rows: Iterator[tuple[int, int, TapeRow]] | None = None
        self._next_row: tuple[int, int, TapeRow] | None = None
        self._resumed_ns = -1  # rows up to here were emitted before this tape was resumed
        self._first_ns: int | None = None
        self.left_out = 0

    def pop_until(self, ts_ns: int, open_ns: int, clock_ns: int) -> tuple[list[Record], list[DeadLetter]]:
        """Return `(records, dead letters)` of the time slice `[open_ns, ts_ns]`; `clock_ns` is the previous clock."""
        if self._merged_rows is None:
            self._merged_rows = heapq.merge(*(self._rows_of_file(file_index) for file_index in range(len(self._files))))
            self._next_row = next(self._merged_rows, None)
            if self._first_ns is None:
                self._first_ns = open_ns
        if self._next_row is None or self._next_row[0] > ts_ns:
            return [], []
        records_by_kind: list[list[Any]] = [[] for _ in FILE_KINDS]
        dead_letters: list[DeadLetter] = []
        while self._next_row is not None and self._next_row[0] <= ts_ns:
            _, file_index, row = self._next_row
            self._next_row = next(self._merged_rows, None)
            if row.record is None:
                topic = f"file:{self._files[file_index].path.name}"
                dead_letters.append(
                    DeadLetter(
                        topic=topic,
                        partition=0,
                        offset=row.line,
                        stage=STAGE,
                        ts_ns=clock_ns,
                        reason=row.reason,
                        schema_id=None,
                        raw=row.raw,
                    )
                )
            elif self._is_selected(self._files[file_index].kind, row):
                records_by_kind[FILE_KINDS.index(self._files[file_index].kind)].append(row.record)
            else:
                self.left_out += 1
        for kind, seqs in ((QUOTES, self._seqs), (TRADES, self._trade_seqs)):
            index = FILE_KINDS.index(kind)
            records_by_kind[index] = _numbered(records_by_kind[index], seqs)
        return [record for records in records_by_kind for record in records], dead_letters

    def _rows_of_file(self, file_index: int) -> Iterator[tuple[int, int, TapeRow]]:
        """Yield rows as (time, file, row). Time, file and line are unique, so records are never compared."""
        resumed_ns = self._resumed_ns
        return ((row.time_ns, file_index, row) for row in self._files[file_index].rows() if row.time_ns > resumed_ns)

    def _is_selected(self, kind: TapeFileKind, row: TapeRow) -> bool:
        assert self._first_ns is not None, "pop_until() sets the first time slice"
        if kind.lookback_ns is not None and row.time_ns < self._first_ns - kind.lookback_ns:
            return False
        symbol = None if kind is DATA else getattr(row.record, "symbol", None)
        return self._symbols is None or symbol is None or symbol in self._symbols

    def state(self) -> dict[str, Any]:
        """Return the file names and the `seq` of each symbol's quotes and trades."""
        # States of earlier releases have no trades.
        trades = {"trade_seqs": dict(self._trade_seqs)} if self._trade_seqs else {}
        return trades | {
            "v": STATE_VERSION,
            "files": list(self._file_labels),
            "seqs": dict(self._seqs),
            "first_ns": self._first_ns,
            "left_out": self.left_out,
        }

    def resume(self, state: dict[str, Any], last_ns: int) -> None:
        """Continue after the time slice at `last_ns`; the files are read again up to there."""
        assert state["v"] == STATE_VERSION, f"tape state of version {state['v']}, expected {STATE_VERSION}"
        if state["files"] != self._file_labels:
            raise BadInput(
                f"the feed was stopped with files {state['files']} and cannot continue with {self._file_labels}"
            )
        self._seqs, self._first_ns, self.left_out = dict(state["seqs"]), state["first_ns"], state["left_out"]
        self._trade_seqs = dict(state.get("trade_seqs", {}))
        self._resumed_ns = last_ns


def _numbered(records: list[Quote | Trade], seqs: dict[str, int]) -> list[Quote | Trade]:
    """Assign `seq` to quotes or trades and sort as aligned partitions do: by time, symbol and `seq`."""
    numbered: list[Quote | Trade] = []
    for record in records:
        seqs[record.symbol] = seq = seqs.get(record.symbol, 0) + 1
        numbered.append(record._replace(seq=seq))
    numbered.sort(key=lambda record: (record.ts_ns, record.symbol, record.seq))
    return numbered


def list_tape_files(kind: TapeFileKind, paths: Sequence[str | Path]) -> list[Path]:
    """Return the files, with folders replaced by their files, in an order independent of the caller's."""
    files: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            endings = tuple(f"{ending}{suffix}" for ending in (*CSV_ENDINGS, *JSON_ENDINGS) for suffix in ("", ".gz"))
            endings += PARQUET_ENDINGS
            if kind is FUNDAMENTALS:
                endings += (COMPANY_FACTS,)
            matches = {inner for inner in path.iterdir() if inner.name.lower().endswith(endings)}
            if not matches:
                raise BadInput(f"folder {path} holds no CSV, JSON lines or Parquet file of {kind.name}")
            files |= matches
        else:
            files.add(path)
    return sorted(files, key=lambda path: (path.name, str(path)))
