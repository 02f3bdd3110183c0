"""The live feed: one clock, minutes closed when their bars are there, fallback, gaps that show, and restarts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from dataflows.sources.calendars import TradingCalendar
from dataflows.sources.market.alpaca import AlpacaRequests, AlpacaSocket, AlpacaSource
from dataflows.sources.market.clock_recovery import Written
from dataflows.sources.market.feed import SWITCHED, LiveFeed, LiveFeedSettings
from dataflows.sources.market.provider import QuoteSeen, Rows, SetAside, TradeSeen
from deploy.alpaca_server.market import BarRow
from operators.alignment import AlignedLogs, Log
from operators.bar_completion import Minute, MinuteRow
from operators.stage import Tick
from schemas.records import Bar, Clock, Command, Quote, Trade
from tests.unit.alpaca_broker import local_broker, wait_for

SECOND = 10**9
MINUTE = 60 * SECOND
START = 1_767_225_600 * SECOND  # a whole minute, 24/7


class Told:
    """A provider that knows what a test tells it."""

    def __init__(self, name: str = "first") -> None:
        self.name, self.why = name, ""
        self.known: dict[int, Rows] = {}
        self.quotes: list[QuoteSeen] = []
        self.trades: list[TradeSeen] = []
        self.past: dict[int, Rows] = {}
        self.bad: list[SetAside] = []

    def start(self) -> None:
        """It is there."""

    def stop(self) -> None:
        """It stays."""

    def unwell(self, minute: Minute, now_ns: int) -> str:
        return self.why

    def rows(self, minute: Minute) -> Rows:
        return dict(self.known.get(minute.open_ns, {}))

    def seen(self) -> tuple[list[QuoteSeen], list[TradeSeen]]:
        quotes, trades, self.quotes, self.trades = self.quotes, self.trades, [], []
        return quotes, trades

    def set_aside(self) -> list[SetAside]:
        bad, self.bad = self.bad, []
        return bad

    def history(self, first_open_ns: int, end_ns: int) -> dict[int, Rows]:
        return {at: rows for at, rows in self.past.items() if first_open_ns <= at < end_ns}

    def bar(self, open_ns: int, symbol: str, price: float) -> None:
        self.known.setdefault(open_ns, {})[symbol] = row(symbol, price)


def row(symbol: str, price: float) -> MinuteRow:
    return MinuteRow(symbol, price, price, price, price, 10.0)


class Running:
    """A feed whose wall clock stands where the test puts it."""

    def __init__(self, *providers: Told, symbols: Sequence[str] = ("A", "B"), written: Written | None = None) -> None:
        self.now = START
        self.asked: list[int | None] = []

        def read(since: int | None) -> Written:
            self.asked.append(since)
            return written or Written()

        settings = LiveFeedSettings(symbols=tuple(symbols), calendar="24/7", wait_s=5.0)
        self.feed = LiveFeed(settings, providers or (Told(),), read, now_ns=lambda: self.now)

    def at(self, seconds: float) -> list[Tick]:
        self.now = START + round(seconds * SECOND)
        return self.feed.take(100)


def bars(ticks: Sequence[Tick]) -> list[tuple[str, int, float, bool]]:
    return [(r.symbol, r.seq, r.close, r.traded) for tick in ticks for r in tick.records if isinstance(r, Bar)]


def test_the_clock_goes_on_without_records() -> None:
    run = Running()
    times = [tick.ts_ns for seconds in (0.0, 0.1, 0.25, 0.6, 0.6, 3.0) for tick in run.at(seconds)]
    assert times == [START + round(at * SECOND) for at in (0, 0.25, 0.5, 3.0)]


def test_a_minute_waits_for_its_bars_and_the_clock_waits_in_front_of_it() -> None:
    told = Told()
    run = Running(told)
    run.at(0)
    told.bar(START, "A", 10.0)
    ticks = run.at(61)
    assert [tick.ts_ns for tick in ticks] == [START + MINUTE - SECOND // 4]
    assert run.at(62) == []
    told.bar(START, "B", 20.0)
    ticks = run.at(62.1)
    assert [tick.ts_ns for tick in ticks] == [START + MINUTE, START + 62 * SECOND]
    assert bars(ticks) == [("A", 1, 10.0, True), ("B", 1, 20.0, True)]


def test_a_symbol_that_did_not_trade_gets_a_no_trade_bar_after_the_wait() -> None:
    told = Told()
    run = Running(told)
    run.at(0)
    told.bar(START, "A", 10.0)
    told.bar(START, "B", 20.0)
    run.at(60)
    told.bar(START + MINUTE, "A", 11.0)
    assert bars(run.at(124.9)) == []
    assert bars(run.at(125)) == [("A", 2, 11.0, True), ("B", 2, 20.0, False)]


def test_quotes_are_the_latest_of_each_symbol_and_trades_are_all() -> None:
    told = Told()
    run = Running(told)
    run.at(0)
    told.quotes = [QuoteSeen("B", 1.0, 2.0, 1.0, 1.0), QuoteSeen("A", 3.0, 4.0, 1.0, 1.0)]
    told.quotes += [QuoteSeen("B", 1.5, 2.0, 1.0, 1.0), QuoteSeen("A", 5.0, 4.0, 1.0, 1.0), QuoteSeen("X", 1, 2, 1, 1)]
    told.trades = [TradeSeen("A", 7, 3.0, 1.0), TradeSeen("A", 8, 3.1, 2.0)]
    [tick] = run.at(0.3)
    at = START + SECOND // 4
    assert tick == (
        at,
        [
            Quote("A", 1, at, 3.0, 4.0, 1.0, 1.0),
            Quote("B", 1, at, 1.5, 2.0, 1.0, 1.0),
            Trade("A", 1, 7, 3.0, 1.0),
            Trade("A", 2, 8, 3.1, 2.0),
        ],
    )


def test_the_next_provider_takes_over_and_the_first_comes_back_on_record() -> None:
    first, second = Told(), Told("second")
    run = Running(first, second, symbols=("A",))
    run.at(0)
    for number in range(4):
        second.bar(START + number * MINUTE, "A", 50.0 + number)
    first.bar(START, "A", 10.0)
    first.bar(START + 3 * MINUTE, "A", 13.0)
    seen = list(run.at(60))
    first.why = "the socket is away"
    seen += run.at(120)
    first.why = ""
    assert bars(run.at(180)) == [], "a well provider is waited for"
    seen += run.at(185) + run.at(240)
    assert bars(seen) == [("A", 1, 10.0, True), ("A", 2, 51.0, True), ("A", 3, 52.0, True), ("A", 4, 13.0, True)]
    notes = [(r.kind, r.arguments["to"], r.reason) for t in seen for r in t.records if isinstance(r, Command)]
    assert notes == [
        (SWITCHED, "second", "the socket is away"),
        (SWITCHED, "first", "first is well again"),
    ]


def test_a_provider_that_is_well_and_has_nothing_gives_way_to_one_that_has_bars() -> None:
    first, second = Told(), Told("second")
    run = Running(first, second, symbols=("A",))
    run.at(0)
    second.bar(START, "A", 50.0)
    assert bars(run.at(64)) == [], "it is waited for"
    seen = run.at(65)
    assert bars(seen) == [("A", 1, 50.0, True)]
    [note] = [r for t in seen for r in t.records if isinstance(r, Command)]
    assert (note.arguments["to"], note.reason) == ("second", "it has no bars of this minute")


def test_a_minute_of_which_nobody_knows_anything_has_no_bars_and_time_goes_on() -> None:
    told = Told()
    run = Running(told, symbols=("A",))
    run.at(0)
    told.bar(START, "A", 10.0)
    told.bar(START + 2 * MINUTE, "A", 12.0)
    seen = [*run.at(60), *run.at(125), *run.at(180)]
    found = [(r.seq, r.open_ns) for t in seen for r in t.records if isinstance(r, Bar)]
    assert found == [(1, START), (2, START + 2 * MINUTE)], "the gap shows in the bars' times"
    assert START + 2 * MINUTE in [tick.ts_ns for tick in seen], "and not in the clock"


def test_missed_minutes_are_asked_for_at_a_restart() -> None:
    told = Told()
    run = Running(told, symbols=("A",))
    run.at(0)
    told.bar(START, "A", 10.0)
    run.at(60)
    state = run.feed.state()
    again = Told()
    again.past = {START + MINUTE: {"A": row("A", 11.0)}, START + 3 * MINUTE: {"A": row("A", 13.0)}}
    later = Running(again, symbols=("A",))
    later.now = START + 4 * MINUTE + SECOND
    feed = later.feed.resume(state)
    seen = feed.take(100)
    found = [(r.seq, r.ts_ns, r.close) for t in seen for r in t.records if isinstance(r, Bar)]
    assert found == [(2, START + 2 * MINUTE, 11.0), (3, START + 4 * MINUTE, 13.0)]
    times = [tick.ts_ns for tick in seen]
    assert times == sorted(times) and times[-1] == later.now
    assert later.asked == [state["at_ns"]]


def test_a_minute_that_was_cut_off_in_the_middle_is_made_whole() -> None:
    """A's bar and clock were written, B's not; whoever reads both sees each bar once, in its minute."""
    told = Told()
    run = Running(told)
    run.at(0)
    told.bar(START, "A", 10.0)
    told.bar(START, "B", 20.0)
    run.at(60)
    state = run.feed.state()
    told.bar(START + MINUTE, "A", 11.0)
    told.bar(START + MINUTE, "B", 21.0)
    whole = run.at(120)
    cut = next(r for t in whole for r in t.records if isinstance(r, Bar) and r.symbol == "A")
    written = Written({0: START + 2 * MINUTE, 1: START + MINUTE}, {"A": cut})
    again = Told()
    # Asked anew, the provider may say something else: what stands in the log counts.
    again.past = {START + MINUTE: {"B": row("B", 21.0)}}
    later = Running(again, written=written)
    later.now = START + 2 * MINUTE + SECOND
    made = later.feed.resume(state).take(100)
    again.bar(START + 2 * MINUTE, "A", 12.0)
    again.bar(START + 2 * MINUTE, "B", 22.0)
    later.now += MINUTE
    made += later.feed.take(100)
    assert bars(made) == [("B", 2, 21.0, True), ("A", 3, 12.0, True), ("B", 3, 22.0, True)]
    reader = AlignedLogs("test", [Log("market-bars", 0, 0), Log("market-bars", 1, 0)])
    logs: dict[int, list[Any]] = {0: [cut, Clock(START + 2 * MINUTE, "x")], 1: [Clock(START + MINUTE, "x")]}
    for tick in made:
        for record in tick.records:
            logs[0 if record.symbol == "A" else 1].append(record)  # type: ignore[union-attr]
        for log in logs.values():
            log.append(Clock(tick.ts_ns, "x"))
    for number, log in logs.items():
        reader.feed("market-bars", number, list(enumerate(log)))
    read = [(t.ts_ns, r.symbol, r.seq) for t in reader.ticks() for r in t.records if isinstance(r, Bar)]
    assert read == [
        (START + 2 * MINUTE, "A", 2),
        (START + 2 * MINUTE, "B", 2),
        (START + 3 * MINUTE, "A", 3),
        (START + 3 * MINUTE, "B", 3),
    ]
    assert (reader.counts.late, reader.counts.gaps, reader.counts.dead) == (0, 0, 0)


def test_alpacas_socket_and_requests_are_providers() -> None:
    with local_broker() as server:
        source = AlpacaSource(
            key="local", secret="local", symbols=("AAPL", "MSFT"), url=server.url, trades=True, stale_s=2.0
        )
        socket, requests = AlpacaSocket(source), AlpacaRequests(source)
        minute = next(TradingCalendar("24/7").minutes(START, MINUTE))
        assert "away" in socket.unwell(minute, time.time_ns())
        socket.start()
        wait_for(lambda: not socket.unwell(minute, time.time_ns()), "connected")
        wait_for(lambda: any(w.wants for w in server.broker.watchers), "subscribed")
        server.do(server.broker.show_bar(BarRow("AAPL", START, 10.0, 12.0, 9.0, 11.0, 500.0)))
        server.do(server.broker.show_price("MSFT", 50.0, START))
        wait_for(lambda: bool(socket.rows(minute)), "the bar")
        assert socket.rows(minute) == {"AAPL": MinuteRow("AAPL", 10.0, 12.0, 9.0, 11.0, 500.0)}
        wait_for(lambda: bool(socket._trades), "the trade")
        quotes, trades = socket.seen()
        assert quotes == [QuoteSeen("MSFT", 49.99, 50.01, 3.0, 3.0)]
        assert trades == [TradeSeen("MSFT", START, 50.0, 100.0)]
        wait_for(lambda: not requests.unwell(minute, 0), "the answer")
        assert requests.rows(minute) == socket.rows(minute)
        assert socket.history(START, START + MINUTE) == {START: socket.rows(minute)}
        later = time.time_ns() + 3 * SECOND
        assert "said nothing for" in socket.unwell(minute, later)
        server.broker.refusing = True
        server.do(server.broker.disconnect())
        wait_for(lambda: "away" in socket.unwell(minute, time.time_ns()), "the cut is noticed")
        server.broker.refusing = False
        wait_for(lambda: socket.unwell(minute, time.time_ns()) == "", "it is back", 20)
        socket.stop()


def test_alpacas_socket_asks_for_the_bars_that_it_missed() -> None:
    now = [START + 50 * SECOND]
    minutes = TradingCalendar("24/7").minutes(START, MINUTE)
    first, second = next(minutes), next(minutes)
    with local_broker() as server:
        source = AlpacaSource(key="local", secret="local", symbols=("AAPL",), url=server.url, stale_s=1000.0)
        socket = AlpacaSocket(source, now_ns=lambda: now[0])
        socket.start()
        wait_for(lambda: not socket.unwell(first, now[0]), "connected")
        server.broker.refusing = True
        server.do(server.broker.disconnect())
        wait_for(lambda: "away" in socket.unwell(first, now[0]), "the cut is noticed")
        for number, close in ((0, 11.0), (1, 12.0)):
            server.broker.market.record(BarRow("AAPL", START + number * MINUTE, 10.0, 12.0, 9.0, close, 500.0))
        now[0] = START + 125 * SECOND
        server.broker.refusing = False
        wait_for(lambda: len(socket.rows(first)) == len(socket.rows(second)) == 1, "the missed bars", 20)
        assert [socket.rows(one)["AAPL"].close for one in (first, second)] == [11.0, 12.0]
        assert socket.unwell(second, now[0]) == ""
        socket.stop()
