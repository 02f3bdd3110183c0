"""Files of quotes, reference data, news and fundamentals, merged into the ticks of the bars.

A record is in the first tick whose clock is at or behind the time from which it is known, in the order in which
aligned topics would give it (`operators/alignment.py`): so a backtest of the files and a platform that plays them
agree.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataflows.sources.rows import RowRules
from dataflows.sources.tape.companyfacts import COMPANY_FACTS_ENDING as COMPANY_FACTS
from dataflows.sources.tape.companyfacts import open_fundamentals
from dataflows.sources.tape.rules import FUNDAMENTALS, NEWS, QUOTES, REFERENCE_DATA, Tagger, TapeFileKind
from dataflows.sources.tape.tape_file import CSV_ENDINGS, JSON_ENDINGS, TapeFile, TapeRow
from operators.bar_completion import FeedSettings
from schemas.errors import BadInput
from schemas.records import DeadLetter, Quote, Record

STATE_VERSION = 1
STAGE = "market_data"
FILE_KINDS = (QUOTES, REFERENCE_DATA, NEWS, FUNDAMENTALS)
"""In the order in which a tick holds their records."""


class TapeFiles(NamedTuple):
    """Files, or folders whose CSV and JSON lines files are taken."""

    quotes: Sequence[str | Path] = ()
    reference_data: Sequence[str | Path] = ()
    news: Sequence[str | Path] = ()
    fundamentals: Sequence[str | Path] = ()


def _no_symbols(text: str) -> list[str]:
    return []


class Tape:
    """What the files hold besides bars, tick by tick. `tag` finds the symbols of a headline that names none by itself.

    Memory is flat in the number of rows, but for files of news, fundamentals and reference data that are not ordered by
    time: those are read whole. Raises BadInput (one sentence) for a file that is missing or has no such columns.
    """

    def __init__(self, files: TapeFiles, settings: FeedSettings, tag: Tagger = _no_symbols) -> None:
        rules = RowRules(settings)
        self._symbols = None if settings.symbols is None else frozenset(settings.symbols)
        paths_by_kind = [(kind, path) for kind in FILE_KINDS for path in _list_files(kind, getattr(files, kind.name))]
        self._files = [
            open_fundamentals(path, rules) if kind is FUNDAMENTALS else TapeFile(path, kind, rules, tag)
            for kind, path in paths_by_kind
        ]
        self._file_labels = [f"{kind.name}/{path.name}" for kind, path in paths_by_kind]
        self._seqs: dict[str, int] = {}
        self._merged_rows: Iterator[tuple[int, int, TapeRow]] | None = None
        self._next_row: tuple[int, int, TapeRow] | None = None
        self._resumed_ns = -1  # rows up to here were given out before this tape was resumed
        self._first_ns: int | None = None
        self.left_out = 0

    def take_until(self, ts_ns: int, open_ns: int, clock_ns: int) -> tuple[list[Record], list[DeadLetter]]:
        """`(records, dead letters)` of the tick at `ts_ns` that opens at `open_ns`; `clock_ns` is the tick before."""
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
                dead_letters.append(DeadLetter(topic, 0, row.line, STAGE, clock_ns, row.reason, None, row.raw))
            elif self._is_selected(self._files[file_index].kind, row):
                records_by_kind[FILE_KINDS.index(self._files[file_index].kind)].append(row.record)
            else:
                self.left_out += 1
        records_by_kind[0] = self._number_quotes(records_by_kind[0])
        return [record for records in records_by_kind for record in records], dead_letters

    def _rows_of_file(self, file_index: int) -> Iterator[tuple[int, int, TapeRow]]:
        """Sorted by time, then file, then line: no two rows compare equal before their records would be compared."""
        resumed_ns = self._resumed_ns
        return ((row.time_ns, file_index, row) for row in self._files[file_index].rows() if row.time_ns > resumed_ns)

    def _is_selected(self, kind: TapeFileKind, row: TapeRow) -> bool:
        assert self._first_ns is not None, "the first tick is known"
        if kind.lookback_ns is not None and row.time_ns < self._first_ns - kind.lookback_ns:
            return False
        symbol = getattr(row.record, "symbol", None)
        return self._symbols is None or symbol is None or symbol in self._symbols

    def _number_quotes(self, quotes: list[Quote]) -> list[Quote]:
        """With their `seq`, in the order in which aligned partitions give them: by time, symbol and `seq`."""
        seqs, numbered = self._seqs, []
        for quote in quotes:
            seqs[quote.symbol] = seq = seqs.get(quote.symbol, 0) + 1
            numbered.append(quote._replace(seq=seq))
        numbered.sort(key=lambda quote: (quote.ts_ns, quote.symbol, quote.seq))
        return numbered

    def state(self) -> dict[str, Any]:
        """Small: files' names, the `seq` of each symbol's quotes."""
        return {
            "v": STATE_VERSION,
            "files": list(self._file_labels),
            "seqs": dict(self._seqs),
            "first_ns": self._first_ns,
            "left_out": self.left_out,
        }

    def resume(self, state: dict[str, Any], last_ns: int) -> None:
        """Go on behind the tick at `last_ns`; the files are read again and skipped up to there."""
        assert state["v"] == STATE_VERSION, f"unknown version of a tape's state: {state['v']}"
        if state["files"] != self._file_labels:
            raise BadInput(
                f"the feed was stopped with files {state['files']} and cannot go on with {self._file_labels}"
            )
        self._seqs, self._first_ns, self.left_out = dict(state["seqs"]), state["first_ns"], state["left_out"]
        self._resumed_ns = last_ns


def _list_files(kind: TapeFileKind, paths: Sequence[str | Path]) -> list[Path]:
    """The files, folders replaced by what they hold, in an order that does not depend on the caller's."""
    files: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            endings = tuple(f"{ending}{suffix}" for ending in (*CSV_ENDINGS, *JSON_ENDINGS) for suffix in ("", ".gz"))
            if kind is FUNDAMENTALS:
                endings += (COMPANY_FACTS,)
            matches = {inner for inner in path.iterdir() if inner.name.lower().endswith(endings)}
            if not matches:
                raise BadInput(f"folder {path} holds no CSV or JSON lines file of {kind.name}")
            files |= matches
        else:
            files.add(path)
    return sorted(files, key=lambda path: (path.name, str(path)))
