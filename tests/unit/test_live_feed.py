"""The live feed: one clock, minutes that close when their bars arrive, failover, visible gaps, and restarts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from configs.settings import LiveFeedSection
from dataflows.sources.market.clock_recovery import FeedTopicState, Since
from dataflows.sources.market.live_feed import FEED_SWITCHED, LiveFeed
from dataflows.sources.market.provider import QuoteUpdate, RejectedMessage, RowsBySymbol, TradePrint
from dataflows.sources.market.slice_times import RESERVED_NS
from operators.alignment import AlignedLogs
from operators.bar_completion import Minute, MinuteRow
from operators.log_cursor import LogInput
from operators.stage import TimeSlice
from schemas.records import HALTED, TRADING, Bar, Clock, Command, Quote, Trade, TradingStatus, has_symbol
from tests.builders import trading_status

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
START_NS = 1_767_225_600 * SECOND_NS  # a whole minute, 24/7


class FakeProvider:
    """A provider that returns the data that a test sets."""

    def __init__(self, name: str = "first") -> None:
        self.name, self.reason = name, ""
        self.rows_by_minute: dict[int, RowsBySymbol] = {}
        self.quotes: list[QuoteUpdate] = []
        self.trades: list[TradePrint] = []
        self.history_by_minute: dict[int, RowsBySymbol] = {}
        self.statuses: list[TradingStatus] = []
        self.rejected: list[RejectedMessage] = []

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def unhealthy_reason(self, minute: Minute, now_ns: int) -> str:
        return self.reason

    def rows(self, minute: Minute) -> RowsBySymbol:
        return dict(self.rows_by_minute.get(minute.open_ns, {}))

    def drain_updates(self) -> tuple[list[QuoteUpdate], list[TradePrint]]:
        quotes, trades, self.quotes, self.trades = self.quotes, self.trades, [], []
        return quotes, trades

    def drain_statuses(self) -> list[TradingStatus]:
        statuses, self.statuses = self.statuses, []
        return statuses

    def drain_rejected(self) -> list[RejectedMessage]:
        rejected, self.rejected = self.rejected, []
        return rejected

    def history(self, first_open_ns: int, end_ns: int, *, adjusted: bool = False) -> dict[int, RowsBySymbol]:
        return {
            minute_open_ns: rows
            for minute_open_ns, rows in self.history_by_minute.items()
            if first_open_ns <= minute_open_ns < end_ns
        }

    def bar(self, open_ns: int, symbol: str, price: float) -> None:
        self.rows_by_minute.setdefault(open_ns, {})[symbol] = row(symbol, price)


def row(symbol: str, price: float) -> MinuteRow:
    return MinuteRow(symbol=symbol, open=price, high=price, low=price, close=price, volume=10.0)


class LiveFeedRun:
    """A feed whose wall clock a test controls."""

    def __init__(
        self, *providers: FakeProvider, symbols: Sequence[str] = ("A", "B"), written: FeedTopicState | None = None
    ) -> None:
        self.now = START_NS
        self.requested_since: list[Since] = []

        def read(since: Since) -> FeedTopicState:
            self.requested_since.append(since)
            return written or FeedTopicState()

        settings = LiveFeedSection(symbols=tuple(symbols), calendar="24/7", wait_s=5.0)
        self.feed = LiveFeed(settings, providers or (FakeProvider(),), read, now_ns=lambda: self.now)

    def take_at(self, seconds: float) -> list[TimeSlice]:
        self.now = START_NS + round(seconds * SECOND_NS)
        return self.feed.take(100)


def bars(time_slices: Sequence[TimeSlice]) -> list[tuple[str, int, float, bool]]:
    return [
        (r.symbol, r.seq, r.close, r.traded)
        for time_slice in time_slices
        for r in time_slice.records
        if isinstance(r, Bar)
    ]


def test_minute_and_clock_wait_for_the_bars() -> None:
    provider = FakeProvider()
    run = LiveFeedRun(provider)
    run.take_at(0)
    provider.bar(START_NS, "A", 10.0)
    time_slices = run.take_at(61)
    assert [time_slice.ts_ns for time_slice in time_slices] == [START_NS + MINUTE_NS - RESERVED_NS]
    assert run.take_at(62) == []
    provider.bar(START_NS, "B", 20.0)
    time_slices = run.take_at(62.1)
    assert [time_slice.ts_ns for time_slice in time_slices] == [START_NS + MINUTE_NS, run.now]
    assert bars(time_slices) == [("A", 1, 10.0, True), ("B", 1, 20.0, True)]


def test_a_symbol_that_did_not_trade_gets_a_no_trade_bar_after_the_wait() -> None:
    provider = FakeProvider()
    run = LiveFeedRun(provider)
    run.take_at(0)
    provider.bar(START_NS, "A", 10.0)
    provider.bar(START_NS, "B", 20.0)
    run.take_at(60)
    provider.bar(START_NS + MINUTE_NS, "A", 11.0)
    assert bars(run.take_at(124.9)) == []
    assert bars(run.take_at(125)) == [("A", 2, 11.0, True), ("B", 2, 20.0, False)]


def test_feed_gives_the_latest_quote_per_symbol_and_all_trades() -> None:
    provider = FakeProvider()
    run = LiveFeedRun(provider)
    run.take_at(0)
    provider.quotes = [
        QuoteUpdate(symbol="B", bid=1.0, ask=2.0, bid_size=1.0, ask_size=1.0),
        QuoteUpdate(symbol="A", bid=3.0, ask=4.0, bid_size=1.0, ask_size=1.0),
    ]
    provider.quotes += [
        QuoteUpdate(symbol="B", bid=1.5, ask=2.0, bid_size=1.0, ask_size=1.0),
        QuoteUpdate(symbol="A", bid=5.0, ask=4.0, bid_size=1.0, ask_size=1.0),
        QuoteUpdate(symbol="X", bid=1, ask=2, bid_size=1, ask_size=1),
    ]
    provider.trades = [TradePrint("A", 7, 3.0, 1.0), TradePrint("A", 8, 3.1, 2.0)]
    assert run.take_at(0.2) == [], "quotes wait for clock_ms, 250 by default"
    [time_slice] = run.take_at(0.3)
    ts_ns = run.now
    assert time_slice == (
        ts_ns,
        [
            Quote(symbol="A", seq=1, ts_ns=ts_ns, bid=3.0, ask=4.0, bid_size=1.0, ask_size=1.0),
            Quote(symbol="B", seq=1, ts_ns=ts_ns, bid=1.5, ask=2.0, bid_size=1.0, ask_size=1.0),
            Trade(symbol="A", seq=1, ts_ns=7, price=3.0, size=1.0),
            Trade(symbol="A", seq=2, ts_ns=8, price=3.1, size=2.0),
        ],
    )


def test_failover_and_return_to_the_first_provider_are_recorded() -> None:
    first, second = FakeProvider(), FakeProvider("second")
    run = LiveFeedRun(first, second, symbols=("A",))
    run.take_at(0)
    for number in range(4):
        second.bar(START_NS + number * MINUTE_NS, "A", 50.0 + number)
    first.bar(START_NS, "A", 10.0)
    first.bar(START_NS + 3 * MINUTE_NS, "A", 13.0)
    output = list(run.take_at(60))
    first.reason = "the socket is disconnected"
    output += run.take_at(120)
    first.reason = ""
    assert bars(run.take_at(180)) == [], "a well provider is waited for"
    output += run.take_at(185) + run.take_at(240)
    assert bars(output) == [("A", 1, 10.0, True), ("A", 2, 51.0, True), ("A", 3, 52.0, True), ("A", 4, 13.0, True)]
    switches = [(r.kind, r.arguments["to"], r.reason) for t in output for r in t.records if isinstance(r, Command)]
    assert switches == [
        (FEED_SWITCHED, "second", "the socket is disconnected"),
        (FEED_SWITCHED, "first", "first is healthy again"),
    ]


def test_healthy_provider_without_bars_fails_over() -> None:
    first, second = FakeProvider(), FakeProvider("second")
    run = LiveFeedRun(first, second, symbols=("A",))
    run.take_at(0)
    second.bar(START_NS, "A", 50.0)
    assert bars(run.take_at(64)) == [], "it is waited for"
    output = run.take_at(65)
    assert bars(output) == [("A", 1, 50.0, True)]
    [switch] = [r for t in output for r in t.records if isinstance(r, Command)]
    assert (switch.arguments["to"], switch.reason) == ("second", "no bars for this minute")


def test_minute_without_data_has_no_bars_and_the_clock_advances() -> None:
    provider = FakeProvider()
    run = LiveFeedRun(provider, symbols=("A",))
    run.take_at(0)
    provider.bar(START_NS, "A", 10.0)
    provider.bar(START_NS + 2 * MINUTE_NS, "A", 12.0)
    output = [*run.take_at(60), *run.take_at(125), *run.take_at(180)]
    bars_out = [(r.seq, r.open_ns) for t in output for r in t.records if isinstance(r, Bar)]
    assert bars_out == [(1, START_NS), (2, START_NS + 2 * MINUTE_NS)], "the gap shows in the bars' times"
    assert START_NS + 2 * MINUTE_NS in [time_slice.ts_ns for time_slice in output], "and not in the clock"


def test_missed_minutes_are_requested_after_a_restart() -> None:
    provider = FakeProvider()
    run = LiveFeedRun(provider, symbols=("A",))
    run.take_at(0)
    provider.bar(START_NS, "A", 10.0)
    run.take_at(60)
    state = run.feed.state()
    new_provider = FakeProvider()
    new_provider.history_by_minute = {
        START_NS + MINUTE_NS: {"A": row("A", 11.0)},
        START_NS + 3 * MINUTE_NS: {"A": row("A", 13.0)},
    }
    later = LiveFeedRun(new_provider, symbols=("A",))
    later.now = START_NS + 4 * MINUTE_NS + SECOND_NS
    feed = later.feed.resume(state)
    output = feed.take(100)
    bars_out = [(r.seq, r.ts_ns, r.close) for t in output for r in t.records if isinstance(r, Bar)]
    assert bars_out == [(2, START_NS + 2 * MINUTE_NS, 11.0), (3, START_NS + 4 * MINUTE_NS, 13.0)]
    times = [time_slice.ts_ns for time_slice in output]
    assert times == sorted(times) and times[-1] == later.now
    assert later.requested_since == [state["offsets"]]


def test_partially_written_minute_is_completed_after_a_restart() -> None:
    """Only the bar and clock of A are written. A reader of both partitions sees each bar once, in its minute."""
    provider = FakeProvider()
    run = LiveFeedRun(provider, symbols=("A", "D"))
    run.take_at(0)
    provider.bar(START_NS, "A", 10.0)
    provider.bar(START_NS, "D", 20.0)
    run.take_at(60)
    state = run.feed.state()
    provider.bar(START_NS + MINUTE_NS, "A", 11.0)
    provider.bar(START_NS + MINUTE_NS, "D", 21.0)
    full_minute = run.take_at(120)
    written_bar = next(r for t in full_minute for r in t.records if isinstance(r, Bar) and r.symbol == "A")
    bar_logs = [("market-bars", 0), ("market-bars", 1)]
    written = FeedTopicState(tuple(bar_logs))
    written.add(bar_logs[0], written_bar)
    for log, minutes in zip(bar_logs, (2, 1), strict=True):
        written.add(log, Clock(START_NS + minutes * MINUTE_NS, "x"))
    new_provider = FakeProvider()
    # A repeated request may return different data. The log takes precedence.
    new_provider.history_by_minute = {START_NS + MINUTE_NS: {"D": row("D", 21.0)}}
    later = LiveFeedRun(new_provider, symbols=("A", "D"), written=written)
    later.now = START_NS + 2 * MINUTE_NS + SECOND_NS
    output = later.feed.resume(state).take(100)
    new_provider.bar(START_NS + 2 * MINUTE_NS, "A", 12.0)
    new_provider.bar(START_NS + 2 * MINUTE_NS, "D", 22.0)
    later.now += MINUTE_NS
    output += later.feed.take(100)
    assert bars(output) == [("D", 2, 21.0, True), ("A", 3, 12.0, True), ("D", 3, 22.0, True)]
    reader = AlignedLogs("test", [LogInput("market-bars", 0, 0), LogInput("market-bars", 1, 0)])
    logs: dict[int, list[Any]] = {
        0: [written_bar, Clock(START_NS + 2 * MINUTE_NS, "x")],
        1: [Clock(START_NS + MINUTE_NS, "x")],
    }
    for time_slice in output:
        for record in time_slice.records:
            assert has_symbol(record)
            logs[0 if record.symbol == "A" else 1].append(record)
        for messages in logs.values():
            messages.append(Clock(time_slice.ts_ns, "x"))
    for number, messages in logs.items():
        reader.feed("market-bars", number, list(enumerate(messages)))
    bars_read = [(t.ts_ns, r.symbol, r.seq) for t in reader.take_slices() for r in t.records if isinstance(r, Bar)]
    assert bars_read == [
        (START_NS + 2 * MINUTE_NS, "A", 2),
        (START_NS + 2 * MINUTE_NS, "D", 2),
        (START_NS + 3 * MINUTE_NS, "A", 3),
        (START_NS + 3 * MINUTE_NS, "D", 3),
    ]
    assert (reader.counts.late, reader.counts.gaps, reader.counts.dead_letters) == (0, 0, 0)


def test_feed_gives_the_halts_of_its_symbols_from_every_provider() -> None:
    first, second = FakeProvider(), FakeProvider("second")
    run = LiveFeedRun(first, second)
    run.take_at(0)
    halt, end = trading_status("A", HALTED, START_NS), trading_status("B", TRADING, START_NS)
    first.statuses, second.statuses = [halt, trading_status("X", HALTED, START_NS)], [halt, end]
    [time_slice] = run.take_at(0.3)
    assert time_slice.records == [halt, halt, end]
    assert [records for _, records in run.take_at(1.4)] == [[]]
