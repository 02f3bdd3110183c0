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
from dataflows.sources.tape.companyfacts import ENDING as COMPANY_FACTS
from dataflows.sources.tape.companyfacts import open_fundamentals
from dataflows.sources.tape.files import CSV_ENDINGS, JSON_ENDINGS, TapeFile, TapeRow
from dataflows.sources.tape.rules import FUNDAMENTALS, NEWS, QUOTES, REFERENCE_DATA, Kind, Tagger
from operators.bar_completion import FeedSettings
from schemas.errors import BadInput
from schemas.records import DeadLetter, Quote, Record

STATE_VERSION = 1
STAGE = "market_data"
KINDS = (QUOTES, REFERENCE_DATA, NEWS, FUNDAMENTALS)
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
        found = [(kind, path) for kind in KINDS for path in _files(kind, getattr(files, kind.name))]
        self._files = [
            open_fundamentals(path, rules) if kind is FUNDAMENTALS else TapeFile(path, kind, rules, tag)
            for kind, path in found
        ]
        self._names = [f"{kind.name}/{path.name}" for kind, path in found]
        self._seqs: dict[str, int] = {}
        self._rows: Iterator[tuple[int, int, TapeRow]] | None = None
        self._next: tuple[int, int, TapeRow] | None = None
        self._behind_ns = -1  # rows up to here were given out before this tape was resumed
        self._first_ns: int | None = None
        self.left_out = 0

    def upto(self, ts_ns: int, open_ns: int, clock_ns: int) -> tuple[list[Record], list[DeadLetter]]:
        """`(records, dead letters)` of the tick at `ts_ns` that opens at `open_ns`; `clock_ns` is the tick before."""
        if self._rows is None:
            self._rows = heapq.merge(*(self._of_file(at) for at in range(len(self._files))))
            self._next = next(self._rows, None)
            if self._first_ns is None:
                self._first_ns = open_ns
        if self._next is None or self._next[0] > ts_ns:
            return [], []
        found: list[list[Any]] = [[] for _ in KINDS]
        dead: list[DeadLetter] = []
        while self._next is not None and self._next[0] <= ts_ns:
            _, at, row = self._next
            self._next = next(self._rows, None)
            if row.record is None:
                topic = f"file:{self._files[at].path.name}"
                dead.append(DeadLetter(topic, 0, row.line, STAGE, clock_ns, row.reason, None, row.raw))
            elif self._wanted(self._files[at].kind, row):
                found[KINDS.index(self._files[at].kind)].append(row.record)
            else:
                self.left_out += 1
        found[0] = self._counted(found[0])
        return [record for records in found for record in records], dead

    def _of_file(self, at: int) -> Iterator[tuple[int, int, TapeRow]]:
        """Sorted by time, then file, then line: no two rows compare equal before their records would be compared."""
        behind_ns = self._behind_ns
        return ((row.time_ns, at, row) for row in self._files[at].rows() if row.time_ns > behind_ns)

    def _wanted(self, kind: Kind, row: TapeRow) -> bool:
        assert self._first_ns is not None, "the first tick is known"
        if kind.history_ns is not None and row.time_ns < self._first_ns - kind.history_ns:
            return False
        symbol = getattr(row.record, "symbol", None)
        return self._symbols is None or symbol is None or symbol in self._symbols

    def _counted(self, quotes: list[Quote]) -> list[Quote]:
        """With their `seq`, in the order in which aligned partitions give them: by time, symbol and `seq`."""
        seqs, counted = self._seqs, []
        for quote in quotes:
            seqs[quote.symbol] = seq = seqs.get(quote.symbol, 0) + 1
            counted.append(quote._replace(seq=seq))
        counted.sort(key=lambda quote: (quote.ts_ns, quote.symbol, quote.seq))
        return counted

    def state(self) -> dict[str, Any]:
        """Small: files' names, the `seq` of each symbol's quotes."""
        return {
            "v": STATE_VERSION,
            "files": list(self._names),
            "seqs": dict(self._seqs),
            "first_ns": self._first_ns,
            "left_out": self.left_out,
        }

    def resume(self, state: dict[str, Any], last_ns: int) -> None:
        """Go on behind the tick at `last_ns`; the files are read again and skipped up to there."""
        assert state["v"] == STATE_VERSION, f"unknown version of a tape's state: {state['v']}"
        if state["files"] != self._names:
            raise BadInput(f"the feed was stopped with files {state['files']} and cannot go on with {self._names}")
        self._seqs, self._first_ns, self.left_out = dict(state["seqs"]), state["first_ns"], state["left_out"]
        self._behind_ns = last_ns


def _files(kind: Kind, paths: Sequence[str | Path]) -> list[Path]:
    """The files, folders replaced by what they hold, in an order that does not depend on the caller's."""
    found: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            endings = tuple(f"{ending}{zipped}" for ending in (*CSV_ENDINGS, *JSON_ENDINGS) for zipped in ("", ".gz"))
            if kind is FUNDAMENTALS:
                endings += (COMPANY_FACTS,)
            inside = {inner for inner in path.iterdir() if inner.name.lower().endswith(endings)}
            if not inside:
                raise BadInput(f"folder {path} holds no CSV or JSON lines file of {kind.name}")
            found |= inside
        else:
            found.add(path)
    return sorted(found, key=lambda path: (path.name, str(path)))
