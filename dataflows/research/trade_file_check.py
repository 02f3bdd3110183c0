"""Check files of trades before a backtest: order, duplicates, bad prices and sizes, gaps, sessions without a trade.

The rows are read as the tape of a backtest reads them, so that a rejected row is one that a backtest would not see.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dataflows.research.symbol_check import EXAMPLES_MAX, LIQUID_SHARE
from dataflows.sources.row_times import iso
from dataflows.sources.rows import RowRules
from dataflows.sources.tape.rules import TRADES
from dataflows.sources.tape.tape import list_tape_files
from dataflows.sources.tape.tape_file import OUT_OF_ORDER, TapeFile, TapeRow
from dataflows.sources.trading_calendar import TradingCalendar
from operators.bar_completion import FeedSettings
from schemas.counted import counted
from schemas.errors import BadInput
from schemas.records import Trade

CLOSED_SHARE_MAX = 0.01  # of the trades, outside all sessions, without a finding
GAP_S_MIN = 1800
"""A shorter time without a trade, within one session of a symbol that trades often, is not a finding."""
_SECOND_NS = 1_000_000_000
_MINUTE_NS = 60 * _SECOND_NS


@dataclass
class TradedSymbolCheck:
    """The trades of one symbol. `largest_gap` is the longest time without a trade within one regular session.

    `missing_days` are sessions without a trade between the first and the last one, as YYYYMMDD. `is_liquid`: the symbol
    trades often enough to trade every day.
    """

    trades: int = 0
    size: float = 0.0
    without_size: int = 0
    duplicates: int = 0
    first: str | None = None
    last: str | None = None
    days: int = 0
    missing_days: list[int] = field(default_factory=list)
    largest_gap: dict[str, Any] | None = None
    is_liquid: bool = False


@dataclass
class TradeFileCheck:
    """The findings about one file. `error` is set if the file cannot be read; the rest is then empty.

    `rejected` counts the rows that a backtest rejects, by what is wrong with them. `duplicates` counts trades with the
    time, price and size of another one of the symbol, `closed` those outside all sessions.
    """

    file: str
    error: str | None = None
    trades: int = 0
    first: str | None = None
    last: str | None = None
    out_of_order: int = 0
    duplicates: int = 0
    closed: int = 0
    session_trades: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    rejected_examples: list[str] = field(default_factory=list)
    symbols: dict[str, TradedSymbolCheck] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


class _SymbolTrades:
    """Accumulates the trades of one symbol, with 8 bytes for each."""

    def __init__(self) -> None:
        self.check = TradedSymbolCheck()
        self.times = array("q")
        self._moment: set[tuple[float, float]] = set()  # price and size of the trades at the last time

    def add(self, trade: Trade) -> None:
        check = self.check
        if self.times and self.times[-1] != trade.ts_ns:
            self._moment.clear()
        check.duplicates += (trade.price, trade.size) in self._moment
        self._moment.add((trade.price, trade.size))
        self.times.append(trade.ts_ns)
        check.trades += 1
        check.size += trade.size
        check.without_size += trade.size == 0

    def finish(self, calendar: TradingCalendar) -> TradedSymbolCheck:
        check, times = self.check, np.frombuffer(self.times, np.int64)
        check.first, check.last = iso(self.times[0]), iso(self.times[-1])
        sessions = calendar.regular_sessions(self.times[0], self.times[-1])
        edges = np.array([(one.start_ns, one.end_ns) for one in sessions], np.int64).reshape(-1, 2)
        starts, ends = np.searchsorted(times, edges[:, 0]), np.searchsorted(times, edges[:, 1])
        minutes = open_minutes = 0
        for session, start, end in zip(sessions, starts.tolist(), ends.tolist(), strict=True):
            if start == end:
                check.missing_days.append(session.trading_day)
                continue
            check.days += 1
            minutes += len(np.unique(times[start:end] // _MINUTE_NS))
            open_minutes += (session.end_ns - session.start_ns) // _MINUTE_NS
            self._note_gap(times[start:end])
        check.is_liquid = bool(open_minutes) and minutes / open_minutes >= LIQUID_SHARE
        return check

    def _note_gap(self, times: Any) -> None:
        """Compare the longest time between two trades of one session with the largest gap so far."""
        if len(times) < 2:
            return
        gaps = np.diff(times)
        longest = int(gaps.argmax())
        seconds = int(gaps[longest]) // _SECOND_NS
        if self.check.largest_gap is None or seconds > self.check.largest_gap["seconds"]:
            self.check.largest_gap = {"time": iso(int(times[longest])), "seconds": seconds}


def check_trade_files(paths: Sequence[Path], settings: FeedSettings) -> Iterator[TradeFileCheck]:
    """Yield the check of each file; folders stand for their files. Raises BadInput if a path does not exist."""
    for path in list_tape_files(TRADES, paths):
        if not path.is_file():
            raise BadInput(f"file {path} does not exist")
        yield _check_file(path, settings)


def _check_file(path: Path, settings: FeedSettings) -> TradeFileCheck:
    check, symbols = TradeFileCheck(path.name), dict[str, _SymbolTrades]()
    calendar, last_ns = TradingCalendar(settings.calendar), 0
    try:
        for row in TapeFile(path, TRADES, RowRules(settings), lambda text: []).rows():
            if not isinstance(row.record, Trade):
                _count_rejected(check, row)
                continue
            check.first, last_ns = check.first or iso(row.time_ns), row.time_ns
            if row.record.symbol not in symbols:
                symbols[row.record.symbol] = _SymbolTrades()
            symbols[row.record.symbol].add(row.record)
    except BadInput as error:
        check.error = str(error)
        check.findings.append(check.error)
        return check
    phases: Counter[str] = Counter()
    for trades in symbols.values():
        counts = calendar.phases(np.frombuffer(trades.times, np.int64))
        phases.update({phase or "closed": count for phase, count in counts.items()})
    check.last = iso(last_ns) if symbols else None
    check.symbols = {symbol: symbols[symbol].finish(calendar) for symbol in sorted(symbols)}
    check.trades = sum(one.trades for one in check.symbols.values())
    check.duplicates = sum(one.duplicates for one in check.symbols.values())
    check.session_trades, check.closed = dict(phases.most_common()), phases["closed"]
    check.findings = list(_findings(check))
    return check


def _count_rejected(check: TradeFileCheck, row: TapeRow) -> None:
    if row.reason.startswith(OUT_OF_ORDER):
        check.out_of_order += 1
        what = "time before that of the row before"
    else:
        what = row.reason.partition(", found")[0].removeprefix("field ")
    check.rejected[what] = check.rejected.get(what, 0) + 1
    if len(check.rejected_examples) < EXAMPLES_MAX:
        check.rejected_examples.append(f"line {row.line}: {row.reason}")


def _findings(check: TradeFileCheck) -> Iterator[str]:
    if not check.trades:
        yield "no trade in this file"
    if check.rejected:
        kinds = ", ".join(f"{what} ({count:,})" for what, count in check.rejected.items())
        rejected = counted(sum(check.rejected.values()), "row is", "rows are")
        yield f"{rejected} rejected: {kinds}; the first one in {check.rejected_examples[0]}"
    if check.out_of_order:
        yield "the rows are not in order of time; sort the file by time, because a backtest rejects older rows"
    if check.duplicates:
        repeats = counted(check.duplicates, "trade repeats", "trades repeat")
        yield f"{repeats} time, price and size of another one of the symbol; remove copies, or their size counts twice"
    if check.closed > CLOSED_SHARE_MAX * check.trades:
        closed = counted(check.closed, "trade lies", "trades lie")
        yield f"{closed} outside all sessions, such as holidays; check the calendar and the time zone"
    for symbol, one in check.symbols.items():
        if one.without_size:
            yield f"{symbol}: {counted(one.without_size, 'trade has', 'trades have')} the size 0"
        if one.missing_days and one.is_liquid:
            days = counted(len(one.missing_days), "session has", "sessions have")
            yield f"{symbol}: {days} no trade, the first one {one.missing_days[0]}"
        gap = one.largest_gap
        if gap is not None and one.is_liquid and gap["seconds"] >= GAP_S_MIN:
            yield f"{symbol}: no trade for {gap['seconds'] // 60} minutes from {gap['time']}, within a session"
