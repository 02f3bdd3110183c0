"""Polygon's socket and requests against a local server that speaks its protocol, and the feed over both."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from massive import RESTClient, WebSocketClient
from massive.exceptions import AuthError

from dataflows.sources.calendars import TradingCalendar
from dataflows.sources.market.clock_recovery import Written
from dataflows.sources.market.feed import SWITCHED, LiveFeed, LiveFeedSettings
from dataflows.sources.market.polygon import PolygonHistory, PolygonRequests, PolygonSocket, PolygonSource
from dataflows.sources.market.provider import Provider, QuoteSeen, TradeSeen
from dataflows.sources.market.simulator_provider import SimulatedProvider
from operators.bar_completion import Minute, MinuteRow
from schemas.errors import Unavailable
from schemas.records import Bar, Command, DeadLetter, Record
from tests.unit.alpaca_broker import wait_for
from tests.unit.polygon_server import PolygonServer

SECOND, MILLI = 10**9, 10**6
MINUTE = 60 * SECOND
START = 1_767_225_600 * SECOND  # a whole minute, 24/7
AAPL = {"o": 10.0, "h": 12.0, "l": 9.0, "c": 11.0, "v": 500}


@pytest.fixture
def server() -> Iterator[PolygonServer]:
    with PolygonServer() as running:
        yield running


class Clock:
    """The wall clock of a provider and a feed, which stands where the test puts it."""

    def __init__(self) -> None:
        self.ns = START

    def __call__(self) -> int:
        return self.ns

    def at(self, seconds: float) -> None:
        self.ns = START + round(seconds * SECOND)


def source(server: PolygonServer, **other: Any) -> PolygonSource:
    given: dict[str, Any] = {"key": server.key, "symbols": ("AAPL", "MSFT"), **other}
    return PolygonSource(stream_url=server.stream_url, rest_url=server.rest_url, **given)


@contextmanager
def listening(server: PolygonServer, now_ns: Callable[[], int] = time.time_ns, **other: Any) -> Iterator[PolygonSocket]:
    socket = PolygonSocket(source(server, **other), now_ns=now_ns)
    socket.start()
    try:
        wait_for(lambda: not socket.unwell(minute(), now_ns()), "it listens")
        yield socket
    finally:
        socket.stop()


def minute(number: int = 0, interval_ns: int = MINUTE) -> Minute:
    return next(TradingCalendar("24/7").minutes(START + number * interval_ns, interval_ns))


def bar_event(symbol: str, number: int, close: float = 11.0, **other: Any) -> dict[str, Any]:
    opened = (START + number * MINUTE) // MILLI
    return {"ev": "AM", "sym": symbol, **AAPL, "c": close, "av": 9, "s": opened, "e": opened + 60_000, **other}


def test_bars_quotes_and_trades_come_as_the_platforms(server: PolygonServer) -> None:
    with listening(server, trades=True) as socket:
        wait_for(lambda: server.listens("T.MSFT"), "all is subscribed to")
        at = START // MILLI + 7
        server.say(
            bar_event("AAPL", 0),
            {"ev": "Q", "sym": "MSFT", "bx": 4, "bp": 49.99, "bs": 300, "ax": 7, "ap": 50.01, "as": 200, "t": at},
            {"ev": "Q", "sym": "AAPL", "bp": 10.9, "bs": 100, "t": at},
            {"ev": "T", "sym": "MSFT", "i": "1", "x": 4, "p": 50.0, "s": 100, "t": at, "q": 1},
        )
        wait_for(lambda: bool(socket._trades), "the last of them")
        assert socket.rows(minute()) == {"AAPL": MinuteRow("AAPL", 10.0, 12.0, 9.0, 11.0, 500.0)}
        quotes, trades = socket.seen()
        assert quotes == [QuoteSeen("MSFT", 49.99, 50.01, 300.0, 200.0)], "a quote of one side is none"
        assert trades == [TradeSeen("MSFT", START + 7 * MILLI, 50.0, 100.0)]
        assert socket.seen() == ([], []) and socket.bad_count == 0


def test_the_local_server_speaks_what_polygons_own_client_understands(server: PolygonServer) -> None:
    """Otherwise our side and our server might agree on something that is not Polygon's."""
    heard: list[Any] = []
    client = WebSocketClient(
        server.key,
        feed=server.stream_url.removeprefix("ws://").removesuffix("/stocks"),
        secure=False,
        subscriptions=["AM.AAPL", "Q.AAPL", "T.AAPL"],
    )
    thread = threading.Thread(target=client.run, args=(heard.extend,), daemon=True)
    thread.start()
    wait_for(lambda: all(server.listens(f"{channel}.AAPL") for channel in ("AM", "Q", "T")), "all is subscribed to")
    at = START // MILLI
    server.say(
        bar_event("AAPL", 0),
        {"ev": "Q", "sym": "AAPL", "bp": 10.9, "bs": 100, "ap": 11.1, "as": 200, "t": at},
        {"ev": "T", "sym": "AAPL", "p": 11.0, "s": 10, "t": at},
    )
    wait_for(lambda: len(heard) == 3, "all events")
    bar, quote, trade = heard
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (10.0, 12.0, 9.0, 11.0, 500)
    assert (bar.start_timestamp, bar.end_timestamp) == (at, at + 60_000)
    assert (quote.bid_price, quote.ask_price, quote.bid_size, quote.ask_size) == (10.9, 11.1, 100, 200)
    assert (trade.price, trade.size, trade.timestamp) == (11.0, 10, at)
    for number in range(2):
        server.hold("AAPL", START + number * MINUTE, (10.0, 12.0, 9.0, 11.0), 500.0)
    server.page_rows = 1
    asked = RESTClient(server.key, base=server.rest_url).list_aggs("AAPL", 1, "minute", at, at + 120_000)
    assert [(one.timestamp, one.close) for one in asked] == [(at, 11.0), (at + 60_000, 11.0)]
    with pytest.raises(AuthError, match="authentication failed"):
        WebSocketClient("another-key", feed=client.feed, secure=False, subscriptions=["AM.AAPL"]).run(heard.extend)
    server.cut()  # in good order, which ends that client
    thread.join(10)
    assert not thread.is_alive()


def test_bars_of_a_second_are_the_channel_of_seconds(server: PolygonServer) -> None:
    with listening(server, bar_interval_s=1, quotes=False) as socket:
        server.say(bar_event("AAPL", 0, ev="A"))
        wait_for(lambda: bool(socket.rows(minute(0, SECOND))), "the bar")
        assert not server.listens("Q.AAPL")
        server.hold("AAPL", START + SECOND, (1.0, 1.0, 1.0, 1.0), 1.0, "second")
        assert list(socket.history(START, START + 2 * SECOND)) == [START + SECOND]


def test_requests_give_the_bars_of_a_range_over_pages_and_from_no_other_host(server: PolygonServer) -> None:
    for number in range(5):
        server.hold("AAPL", START + number * MINUTE, (10.0, 12.0, 9.0, 11.0 + number / 10), 500.0)
    server.hold("MSFT", START + MINUTE, (50.0, 50.0, 50.0, 50.0), 1.0)
    server.hold("MSFT", START + 2 * MINUTE, (50.0, 40.0, 50.0, 50.0), 1.0)  # high below low
    server.page_rows = 2
    found = PolygonHistory(source(server)).bars(START, START + 4 * MINUTE)
    assert {at: sorted(rows) for at, rows in found.items()} == {
        START: ["AAPL"],
        START + MINUTE: ["AAPL", "MSFT"],
        START + 2 * MINUTE: ["AAPL"],
        START + 3 * MINUTE: ["AAPL"],
    }
    assert found[START + 3 * MINUTE]["AAPL"] == MinuteRow("AAPL", 10.0, 12.0, 9.0, 11.3, 500.0)


def test_a_request_that_fails_is_one_sentence(server: PolygonServer) -> None:
    server.failing = 1
    with pytest.raises(Unavailable, match=r"^it answered 500$"):
        PolygonHistory(source(server, symbols=("AAPL",))).bars(START, START + MINUTE)
    requests = PolygonRequests(source(server, key="another-key"))
    assert requests.unwell(minute(), 0) == "no answer yet"
    wait_for(lambda: requests.unwell(minute(), 0) == "it answered 401: Unknown API Key", "the reason")
    assert requests.history(START, START + MINUTE) == {}


def test_a_wrong_key_is_one_sentence_and_is_not_tried_again_at_once(
    server: PolygonServer, capsys: pytest.CaptureFixture[str]
) -> None:
    socket = PolygonSocket(source(server, key="another-secret-key"))
    assert "away" in socket.unwell(minute(), time.time_ns())
    socket.start()
    said = "Polygon refuses: auth_failed: authentication failed"
    wait_for(lambda: socket.unwell(minute(), time.time_ns()) == said, "the reason")
    time.sleep(0.6)
    assert server.sign_ins == 1
    socket.stop()
    out = capsys.readouterr().out
    assert out.count(said) == 1
    assert "another-secret-key" not in out + repr(socket._source)


def test_a_plan_without_minute_bars_is_refused_and_one_without_quotes_goes_without(server: PolygonServer) -> None:
    server.allowed = {"AM"}
    with listening(server) as socket:
        wait_for(lambda: "not authorized" in socket._said, "it is told")
        server.say(bar_event("AAPL", 0))
        wait_for(lambda: bool(socket.rows(minute())), "bars come all the same")
    server.allowed = {"Q"}
    refused = PolygonSocket(source(server))
    refused.start()
    wait_for(lambda: "Polygon refuses: error: not authorized" in refused.unwell(minute(), 0), "the reason")
    refused.stop()


def test_after_a_cut_the_gap_is_asked_for_and_no_bar_comes_twice(server: PolygonServer) -> None:
    now = Clock()
    with listening(server, now) as socket:
        server.say(bar_event("AAPL", 0))
        wait_for(lambda: bool(socket.rows(minute(0))), "the first bar")
        now.at(70)
        server.refusing = True
        server.cut("force_disconnect", "service restart")
        wait_for(lambda: "away" in socket.unwell(minute(1), now()), "the cut is noticed")
        assert socket._said == "force_disconnect: service restart"
        # Two minutes end meanwhile; their bars are there by request. The first of them fails.
        for number, close in ((0, 99.0), (1, 11.5), (2, 11.6)):
            server.hold("AAPL", START + number * MINUTE, (11.0, 100.0, 9.0, close), 7.0)
        now.at(185)
        server.failing, server.refusing = 1, False
        wait_for(lambda: socket._listening, "it is back")
        assert "missed" in socket.unwell(minute(1), now()) and not socket.unwell(minute(3), now())
        wait_for(lambda: not socket.unwell(minute(1), now()), "the gap is filled")
        closes = {number: socket.rows(minute(number))["AAPL"].close for number in range(3)}
        assert closes == {0: 11.0, 1: 11.5, 2: 11.6}, "what the socket brought stays"
        server.say(bar_event("AAPL", 2, 11.7))
        wait_for(lambda: socket.rows(minute(2))["AAPL"].close == 11.7, "the socket's bar goes before")


def test_a_cut_within_a_minute_asks_for_nothing(server: PolygonServer) -> None:
    now = Clock()
    now.at(20)
    with listening(server, now) as socket:
        server.cut()
        wait_for(lambda: server.sign_ins == 2 and not socket.unwell(minute(), now()), "it is back")
        assert server.requests == []


def test_what_is_no_event_is_set_aside_and_counted(server: PolygonServer) -> None:
    wrong = [
        ("{not json", "a list of events"),
        ('{"ev": "AM"}', "a list of events"),
        ('["AM"]', "an event must be an object"),
        ([bar_event("AAPL", 0, o=-1.0)], "0 < l <= o"),
        ([bar_event("AAPL", 0, h="12")], "field h must be a number, found '12'"),
        ([bar_event("AAPL", 0, s=START // MILLI + 1)], "field s must be a multiple of 60000 ms"),
        ([bar_event("TSLA", 0)], "field sym must be a symbol that was asked for, found 'TSLA'"),
        ([{"ev": "T", "sym": "AAPL", "p": 10.0, "s": 1, "t": "now"}], "field t must be milliseconds since 1970"),
        ([{"ev": "T", "sym": "AAPL", "p": 10.0, "s": 1, "t": 10**400}], "field t must be milliseconds since 1970"),
        ([{"ev": "Q", "sym": "AAPL", "bp": 10**400, "ap": 1, "bs": 1, "as": 1}], "field bp is too large"),
        ([{"ev": "XYZ", "sym": "AAPL"}], "field ev must be AM, Q, T or status, found 'XYZ'"),
    ]
    with listening(server) as socket:
        for event, _ in wrong:
            server.say_raw(event if isinstance(event, str) else json.dumps(event))
        server.say(bar_event("AAPL", 0))
        wait_for(lambda: bool(socket.rows(minute())), "the right one behind them")
        assert socket.bad_count == len(wrong)
        bad = socket.set_aside()
        for (_, says), one in zip(wrong, bad, strict=True):
            assert says in one.reason and one.raw
        times = [one.at_ns for one in bad]
        assert times == sorted(set(times)), "no two at one place of the dead letters"
        assert socket.set_aside() == []


class Running:
    """A feed over these providers, taken at moments of the test's clock."""

    def __init__(self, now: Clock, *providers: Provider) -> None:
        settings = LiveFeedSettings(symbols=("AAPL",), calendar="24/7", wait_s=5.0)
        self._now = now
        self.feed = LiveFeed(settings, providers, lambda _since: Written(), now_ns=now)
        self.records: list[Record] = []

    def until(self, seconds: float, open_number: int) -> Bar:
        """At `seconds` the minute of that number is closed; its bar."""
        self._now.at(seconds)

        def closed() -> bool:
            self.records += [record for tick in self.feed.take(10_000) for record in tick.records]
            return any(isinstance(record, Bar) and record.open_ns == at for record in self.records)

        at = START + open_number * MINUTE
        wait_for(closed, f"the bar of minute {open_number}")
        [bar] = [record for record in self.records if isinstance(record, Bar) and record.open_ns == at]
        return bar


def test_the_feed_falls_back_while_polygon_is_silent_or_away_and_comes_back(server: PolygonServer) -> None:
    now = Clock()
    socket = PolygonSocket(source(server, symbols=("AAPL",), stale_s=90.0), now_ns=now)
    run = Running(now, socket, SimulatedProvider(("AAPL",), 7, MINUTE))
    run.feed.take(1)
    wait_for(lambda: not socket.unwell(minute(), now()), "it listens")

    def said(number: int, close: float) -> None:
        server.say(bar_event("AAPL", number, close))
        wait_for(lambda: bool(socket.rows(minute(number))), "the bar")

    said(0, 11.0)
    server.say_raw("garbage")
    wait_for(lambda: socket.bad_count == 1, "the garbage")
    assert run.until(60.5, 0).close == 11.0
    silent = run.until(190, 2)  # said nothing for more than 90 s
    assert silent.close != 11.0 and silent.traded
    now.at(241)
    said(3, 11.4)
    assert run.until(241, 3).close == 11.4
    server.refusing = True
    server.cut()
    wait_for(lambda: not socket._listening, "the cut")
    away = run.until(306, 4)
    assert away.close != 11.4 and away.traded
    server.refusing = False
    for number in (3, 4):
        server.hold("AAPL", START + number * MINUTE, (9.0, 9.0, 9.0, 9.0), 1.0)
    wait_for(lambda: socket._listening and socket._gap is None, "it is back, the gap filled")
    said(5, 11.6)
    assert run.until(361, 5).close == 11.6
    run.feed.stop()
    switches = [(one.arguments["to"], one.reason) for one in run.records if isinstance(one, Command)]
    assert [to for to, _ in switches] == ["simulator", "polygon", "simulator", "polygon"]
    assert "said nothing for" in switches[0][1] and "away" in switches[2][1]
    assert all(one.kind == SWITCHED for one in run.records if isinstance(one, Command))
    bars = [one for one in run.records if isinstance(one, Bar)]
    assert [bar.seq for bar in bars] == list(range(1, len(bars) + 1)), "each once"
    assert [bar.open_ns for bar in bars] == [START + number * MINUTE for number in range(6)]
    [dead] = [one for one in run.records if isinstance(one, DeadLetter)]
    assert (dead.topic, dead.stage, dead.raw) == ("feed:polygon", "market_data", b"garbage")
