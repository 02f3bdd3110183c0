"""The recorded topics as the feed of a backtest: the inputs of the platform, without its decisions.

The feed contains bars and quotes of the selected symbols, headlines, filings, answers of the language model and
reference data. It contains trades if a strategy declares bars of trades, and commands if the caller requests them. It
does not contain the broker's updates, because the simulated venue fills the orders. Recorded time slices without any of
these records are dropped: they were closed for the orders of that run.

The period is that of a file feed: bars that open in [start, end), numbered from 1. Reference data and filings before
the start are in the first time slice, headlines only of the last day, and bars and trades as a history. A
recording of a file feed therefore gives the decisions of its files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from configs.declared_trade_bars import declared_trade_bars
from configs.required_history import history_bars_needed
from configs.settings import Settings
from dataflows.replay.recording import TRADES_TOPIC, read_topics
from dataflows.runtime import topology
from dataflows.sources.file_history import EarlierTrades
from dataflows.sources.tape.rules import DAY_NS
from operators.history_bars import History, add_history_trades, history_bars
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import (
    Bar,
    Command,
    CorporateAction,
    DataRow,
    ExchangeRate,
    Fundamentals,
    HistoryBar,
    HistoryTrade,
    LlmAnswer,
    NewsItem,
    Quote,
    Record,
    Trade,
    TradingSession,
    TradingStatus,
)
from schemas.suggestions import did_you_mean

STATE_VERSION = 1
_GIVEN_TOPICS = (
    "reference-data",
    "news",
    "fundamentals",
    "llm-answers",
    "market-quotes",
    "history-bars",
    "market-bars",
)
_CARRIED_TYPES = (CorporateAction, ExchangeRate, TradingSession, TradingStatus, DataRow, Fundamentals)
"""Records from outside that apply regardless of their age at the start."""
_CARRIED_TO_FIRST_BAR = frozenset({*_CARRIED_TYPES, NewsItem, Quote, Trade})
RECORDED_TRADES: Final = Path("topics:") / TRADES_TOPIC
"""Stands for the recorded trades in `market_data.files.trades` of a backtest on topics."""


class RecordedPeriod(NamedTuple):
    """What to read: the symbols (None: all), bars that open in [start, end), and whether commands and trades count."""

    symbols: tuple[str, ...] | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    with_commands: bool = False
    with_trades: bool = False

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics to read, commands before market data as in every stage that reads both."""
        trades = (TRADES_TOPIC,) if self.with_trades else ()
        topics = (*(("commands",) if self.with_commands else ()), *_GIVEN_TOPICS, *trades)
        return tuple(sorted(topics, key=lambda topic: topic in topology.SYMBOL_TOPICS))


def use_recorded_trades(settings: Settings, period: RecordedPeriod) -> tuple[Settings, RecordedPeriod]:
    """Return both with the recorded trades, if a strategy declares bars of trades and the topics hold any trade.

    Raises Unavailable if Kafka does not respond.
    """
    if not declared_trade_bars(settings):
        return settings, period
    with closing(read_topics(settings.kafka, "backtest", (TRADES_TOPIC,))) as time_slices:
        if not any(type(record) is Trade for time_slice in time_slices for record in time_slice.records):
            return settings, period
    return settings.with_file_feed({"trades": (RECORDED_TRADES,)}), period._replace(with_trades=True)


def recorded_feed_opener(settings: Settings, period: RecordedPeriod) -> Callable[[], RecordedFeed]:
    """Return a function that opens the feed of the topics in `settings.kafka`. Reading commits no offsets."""

    def open_slices() -> Generator[TimeSlice]:
        return read_topics(settings.kafka, "backtest", period.topics)

    interval_ns = (settings.market_data.files.interval_s or 60) * 1_000_000_000
    count = 0 if period.start_ns is None else history_bars_needed(settings.for_backtest())
    return lambda: RecordedFeed(open_slices, period, interval_ns, count)


class RecordedFeed:
    """A market feed (`dataflows/sources/feed_source.py`) of recorded time slices.

    The last `history_bars` bars of each symbol before the start of the period are in the first time slice, with the
    trades in their time.

    Iteration raises BadInput if no bar matches, or if a symbol of the period has none.
    """

    share_read = 0.0  # the end of the topics is not known in advance

    def __init__(
        self,
        open_slices: Callable[[], Generator[TimeSlice]],
        period: RecordedPeriod,
        interval_ns: int,
        history_bars: int = 0,
    ) -> None:
        self.interval_ns, self._period = interval_ns, period
        self._open_slices = open_slices
        self._slices: Generator[TimeSlice] | None = None
        self._selected = None if period.symbols is None else frozenset(period.symbols)
        self._carried: list[Record] = []  # from before the start
        self._history_bars = history_bars
        self._earlier_bars: dict[str, deque[Bar]] = {}  # before the start
        self._earlier_trades = EarlierTrades(0, period.start_ns or 0)
        self._adjusted_days: dict[str, int] = {}  # symbol -> day of the shares of its recorded history
        self._history_ends: dict[str, int] = {}  # symbol -> end of the last bar of its recorded history
        self._symbols_seen: set[str] = set()
        self._seq_offsets: dict[tuple[type, str], int] = {}
        self.finished = False

    def take(self, count: int) -> list[TimeSlice]:
        if self._slices is None:
            self._slices = self._open_slices()
        out: list[TimeSlice] = []
        while len(out) < count and not self.finished:
            time_slice = next(self._slices, None)
            if time_slice is None or self._is_after_end(time_slice):
                self._slices.close()
                self.finished = True
                self._check_symbols()
                break
            records = self._given_records(time_slice)
            if records:
                out.append(TimeSlice(time_slice.ts_ns, records))
        return out

    def _is_after_end(self, time_slice: TimeSlice) -> bool:
        end_ns = self._period.end_ns
        return end_ns is not None and any(
            type(record) is Bar and record.open_ns >= end_ns for record in time_slice.records
        )

    def _given_records(self, time_slice: TimeSlice) -> list[Record]:
        start_ns = self._period.start_ns
        if start_ns is not None and not self._seq_offsets and self._history_bars and self._period.with_trades:
            self._add_earlier_trades(time_slice.records)
        records = [record for record in time_slice.records if self._is_given(record)]
        if start_ns is not None and not self._seq_offsets:
            if not any(type(record) is Bar for record in records):
                self._carried += [record for record in records if type(record) in _CARRIED_TO_FIRST_BAR]
                return []
            recent_ns = start_ns - DAY_NS
            earlier = [record for record in self._carried if type(record) is not NewsItem or record.ts_ns >= recent_ns]
            records, self._carried = [*earlier, *self._history(time_slice.ts_ns, [*earlier, *records]), *records], []
        return [self._renumbered(record) for record in records]

    def _history(self, ts_ns: int, records: list[Record]) -> list[History]:
        """Return the bars and trades before the first time slice, which is at `ts_ns`."""
        bars = [bar for symbol_bars in self._earlier_bars.values() for bar in symbol_bars]
        if not bars:
            return []
        from_ns = min(symbol_bars[0].open_ns for symbol_bars in self._earlier_bars.values())
        trades = [trade for trade in self._earlier_trades.found if trade.ts_ns >= from_ns]
        self._earlier_bars, self._earlier_trades = {}, EarlierTrades(0, 0)
        day = next(record.trading_day for record in records if type(record) is Bar)
        new = [record for record in records if not self._is_in_history(record)]
        return add_history_trades(history_bars(bars, new, ts_ns, day, self._history_bars), trades, new, ts_ns, day)

    def _add_earlier_trades(self, records: Sequence[Record]) -> None:
        """Store the trades of a time slice that are before the start, with those of a recorded history."""
        own = [record for record in records if type(record) is Bar or type(record) is Trade]
        own += [record.to_trade() for record in records if type(record) is HistoryTrade]
        self._earlier_trades.add([record for record in own if self._is_selected(record.symbol)])

    def _is_in_history(self, record: Record) -> bool:
        """Whether the recorded history of a symbol already includes a corporate action, as for the features."""
        return type(record) is CorporateAction and 0 < record.ex_date <= self._adjusted_days.get(record.symbol, 0)

    def _add_recorded_history(self, record: HistoryBar) -> None:
        """Store a bar of a recorded history, unless it repeats one: a start that was interrupted wrote it twice.

        A history in the shares of a later day replaces the one before, as for the features.
        """
        symbol, earlier = record.symbol, self._earlier_bars.get(record.symbol)
        is_newer = record.adjusted_day > self._adjusted_days.get(symbol, 0)
        if earlier and is_newer and earlier[-1].ts_ns == self._history_ends.get(symbol):
            earlier.clear()
        if not earlier or earlier[-1].ts_ns < record.end_ns:
            self._adjusted_days[symbol], self._history_ends[symbol] = record.adjusted_day, record.end_ns
            self._add_earlier(record.to_bar())

    def _add_earlier(self, bar: Bar) -> None:
        """Store a bar before the start. As in a feed of files, the bars of a symbol start with its first trade."""
        if self._history_bars and self._is_selected(bar.symbol) and (bar.traded or bar.symbol in self._earlier_bars):
            self._earlier_bars.setdefault(bar.symbol, deque(maxlen=self._history_bars)).append(bar)

    def _is_given(self, record: Record) -> bool:
        if type(record) is Bar:
            self._symbols_seen.add(record.symbol)
            if self._period.start_ns is not None and record.open_ns < self._period.start_ns:
                self._add_earlier(record)
                return False
            # As in a file, a symbol starts with its first trade.
            return self._is_selected(record.symbol) and (record.traded or (Bar, record.symbol) in self._seq_offsets)
        if type(record) is HistoryTrade:
            is_early = self._period.start_ns is not None and not self._seq_offsets
            return self._period.with_trades and self._is_selected(record.symbol) and not is_early
        if type(record) is HistoryBar:
            if self._period.start_ns is not None and not self._seq_offsets:
                self._add_recorded_history(record)
                return False
            return self._is_selected(record.symbol)
        if type(record) is Quote or type(record) is Trade:
            is_early = self._period.start_ns is not None and record.ts_ns < self._period.start_ns
            return self._is_selected(record.symbol) and not is_early
        if type(record) is CorporateAction or type(record) is TradingStatus or type(record) is Fundamentals:
            return self._is_selected(record.symbol)
        if type(record) is Command:
            return self._period.with_commands
        return type(record) in (ExchangeRate, TradingSession, DataRow, NewsItem, LlmAnswer)

    def _is_selected(self, symbol: str) -> bool:
        return self._selected is None or symbol in self._selected

    def _renumbered(self, record: Record) -> Record:
        if type(record) is Bar or type(record) is Quote or type(record) is Trade:
            key = (type(record), record.symbol)
            offset = self._seq_offsets.setdefault(key, record.seq - 1)
            if offset:
                renumbered: Record = record._replace(seq=record.seq - offset)
                return renumbered
        return record

    def _check_symbols(self) -> None:
        traded = {symbol for kind, symbol in self._seq_offsets if kind is Bar}
        for symbol in self._period.symbols or ():
            if symbol not in traded:
                suggestion = did_you_mean(symbol, self._symbols_seen - {symbol})
                raise BadInput(f"no recorded bars of symbol {symbol!r} in this period{suggestion}")
        if not traded:
            raise BadInput("no recorded bars in this period")

    def due_ns(self) -> int | None:
        return None

    def state(self) -> dict[str, Any]:
        return {"v": STATE_VERSION}

    def resume(self, state: dict[str, Any] | None) -> RecordedFeed:
        if state is not None:
            raise BadInput("a backtest from topics cannot continue; start it again without a recovery store")
        return self
