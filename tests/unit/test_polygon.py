"""Polygon's socket and requests against a local server that implements its protocol, and the feed over both."""

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
from structlog.testing import capture_logs

from configs.settings import LiveFeedSection
from dataflows.sources.market.clock_recovery import FeedTopicState
from dataflows.sources.market.live_feed import FEED_SWITCHED, LiveFeed
from dataflows.sources.market.polygon import PolygonHistory, PolygonOptions, PolygonRestProvider, PolygonSocketProvider
from dataflows.sources.market.provider import Provider, QuoteUpdate, RowsBySymbol, TradePrint
from dataflows.sources.market.rest_provider import RestBarsProvider
from dataflows.sources.market.simulated_provider import SimulatedProvider
from dataflows.sources.trading_calendar import TradingCalendar
from operators.bar_completion import Minute, MinuteRow
from schemas.errors import Unavailable
from schemas.records import Bar, Command, DeadLetter, Record
from tests.manual_clock import ManualClock
from tests.unit.alpaca_broker import wait_for
from tests.unit.polygon_server import PolygonServer
from tests.unit.provider_updates import updates_until_trade

SECOND_NS, MILLI_NS = 10**9, 10**6
MINUTE_NS = 60 * SECOND_NS
START_NS = 1_767_225_600 * SECOND_NS  # a full minute in the 24/7 calendar
AAPL_BAR = {"o": 10.0, "h": 12.0, "l": 9.0, "c": 11.0, "v": 500}


@pytest.fixture
def server() -> Iterator[PolygonServer]:
    with PolygonServer() as running:
        yield running


def source(server: PolygonServer, **overrides: Any) -> PolygonOptions:
    options: dict[str, Any] = {"symbols": ("AAPL", "MSFT"), **overrides}
    key = options.pop("key", server.key)
    live = LiveFeedSection(**options)
    return PolygonOptions(key=key, live=live, stream_url=server.stream_url, rest_url=server.rest_url)


@contextmanager
def listening(
    server: PolygonServer, now_ns: Callable[[], int] = time.time_ns, **overrides: Any
) -> Iterator[PolygonSocketProvider]:
    socket = PolygonSocketProvider(source(server, **overrides), now_ns=now_ns)
    socket.start()
    try:
        wait_for(lambda: not socket.unhealthy_reason(minute(), now_ns()), "it listens")
        yield socket
    finally:
        socket.stop()


def minute(number: int = 0, interval_ns: int = MINUTE_NS) -> Minute:
    return next(TradingCalendar("24/7").minutes(START_NS + number * interval_ns, interval_ns))


def bar_event(symbol: str, number: int, close: float = 11.0, **fields: Any) -> dict[str, Any]:
    open_ms = (START_NS + number * MINUTE_NS) // MILLI_NS
    return {"ev": "AM", "sym": symbol, **AAPL_BAR, "c": close, "av": 9, "s": open_ms, "e": open_ms + 60_000, **fields}


def test_bars_quotes_and_trades_become_platform_types(server: PolygonServer) -> None:
    with listening(server, trades=True) as socket:
        wait_for(lambda: server.is_subscribed("T.MSFT"), "all is subscribed to")
        ts_ms = START_NS // MILLI_NS + 7
        server.publish(
            bar_event("AAPL", 0),
            {"ev": "Q", "sym": "MSFT", "bx": 4, "bp": 49.99, "bs": 300, "ax": 7, "ap": 50.01, "as": 200, "t": ts_ms},
            {"ev": "Q", "sym": "AAPL", "bp": 10.9, "bs": 100, "t": ts_ms},
            {"ev": "T", "sym": "MSFT", "i": "1", "x": 4, "p": 50.0, "s": 100, "t": ts_ms, "q": 1},
        )
        quotes, trades = updates_until_trade(socket)
        assert quotes == [QuoteUpdate(symbol="MSFT", bid=49.99, ask=50.01, bid_size=300.0, ask_size=200.0)], (
            "a quote of one side is ignored"
        )
        assert socket.rows(minute()) == {
            "AAPL": MinuteRow(symbol="AAPL", open=10.0, high=12.0, low=9.0, close=11.0, volume=500.0)
        }
        assert trades == [TradePrint("MSFT", START_NS + 7 * MILLI_NS, 50.0, 100.0)]
        assert socket.drain_updates() == ([], []) and socket.rejected_count == 0


def test_local_server_works_with_polygons_own_client(server: PolygonServer) -> None:
    """Polygon's own client checks the local server, so that our client and server cannot share a protocol error."""
    events: list[Any] = []
    client = WebSocketClient(
        server.key,
        feed=server.stream_url.removeprefix("ws://").removesuffix("/stocks"),
        secure=False,
        subscriptions=["AM.AAPL", "Q.AAPL", "T.AAPL"],
    )
    thread = threading.Thread(target=client.run, args=(events.extend,), daemon=True)
    thread.start()
    wait_for(
        lambda: all(server.is_subscribed(f"{channel}.AAPL") for channel in ("AM", "Q", "T")), "all is subscribed to"
    )
    ts_ms = START_NS // MILLI_NS
    server.publish(
        bar_event("AAPL", 0),
        {"ev": "Q", "sym": "AAPL", "bp": 10.9, "bs": 100, "ap": 11.1, "as": 200, "t": ts_ms},
        {"ev": "T", "sym": "AAPL", "p": 11.0, "s": 10, "t": ts_ms},
    )
    wait_for(lambda: len(events) == 3, "all events")
    bar, quote, trade = events
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (10.0, 12.0, 9.0, 11.0, 500)
    assert (bar.start_timestamp, bar.end_timestamp) == (ts_ms, ts_ms + 60_000)
    assert (quote.bid_price, quote.ask_price, quote.bid_size, quote.ask_size) == (10.9, 11.1, 100, 200)
    assert (trade.price, trade.size, trade.timestamp) == (11.0, 10, ts_ms)
    for number in range(2):
        server.add_bar("AAPL", START_NS + number * MINUTE_NS, (10.0, 12.0, 9.0, 11.0), 500.0)
    server.page_size = 1
    aggregates = RESTClient(server.key, base=server.rest_url).list_aggs("AAPL", 1, "minute", ts_ms, ts_ms + 120_000)
    assert [(one.timestamp, one.close) for one in aggregates] == [(ts_ms, 11.0), (ts_ms + 60_000, 11.0)]
    with pytest.raises(AuthError, match="authentication failed"):
        WebSocketClient("another-key", feed=client.feed, secure=False, subscriptions=["AM.AAPL"]).run(events.extend)
    server.disconnect()  # a normal close, which ends that client
    thread.join(60)
    assert not thread.is_alive()


def test_one_second_bars_use_the_second_channel(server: PolygonServer) -> None:
    with listening(server, bar_interval_s=1, quotes=False) as socket:
        server.publish(bar_event("AAPL", 0, ev="A"))
        wait_for(lambda: bool(socket.rows(minute(0, SECOND_NS))), "the bar")
        assert not server.is_subscribed("Q.AAPL")
        server.add_bar("AAPL", START_NS + SECOND_NS, (1.0, 1.0, 1.0, 1.0), 1.0, "second")
        assert list(socket.history(START_NS, START_NS + 2 * SECOND_NS)) == [START_NS + SECOND_NS]


def test_requests_read_pages_only_on_the_same_host(server: PolygonServer) -> None:
    for number in range(5):
        server.add_bar("AAPL", START_NS + number * MINUTE_NS, (10.0, 12.0, 9.0, 11.0 + number / 10), 500.0)
    server.add_bar("MSFT", START_NS + MINUTE_NS, (50.0, 50.0, 50.0, 50.0), 1.0)
    server.add_bar("MSFT", START_NS + 2 * MINUTE_NS, (50.0, 40.0, 50.0, 50.0), 1.0)  # high is below low
    server.page_size = 2
    bars = PolygonHistory(source(server)).bars(START_NS, START_NS + 4 * MINUTE_NS)
    assert {open_ns: sorted(rows) for open_ns, rows in bars.items()} == {
        START_NS: ["AAPL"],
        START_NS + MINUTE_NS: ["AAPL", "MSFT"],
        START_NS + 2 * MINUTE_NS: ["AAPL"],
        START_NS + 3 * MINUTE_NS: ["AAPL"],
    }
    assert bars[START_NS + 3 * MINUTE_NS]["AAPL"] == MinuteRow(
        symbol="AAPL", open=10.0, high=12.0, low=9.0, close=11.3, volume=500.0
    )


def test_failed_request_gives_a_one_line_error(server: PolygonServer) -> None:
    server.failures_left = 1
    with pytest.raises(Unavailable, match=r"^Polygon responded with status 500$"):
        PolygonHistory(source(server, symbols=("AAPL",))).bars(START_NS, START_NS + MINUTE_NS)
    requests = PolygonRestProvider(source(server, key="another-key"))
    wait_for(
        lambda: requests.unhealthy_reason(minute(), 0) == "Polygon responded with status 401: Unknown API Key",
        "the reason",
    )
    assert requests.history(START_NS, START_NS + MINUTE_NS) == {}


def test_a_pending_request_is_reported_until_it_has_a_response() -> None:
    answered = threading.Event()

    def fetch(first_open_ns: int, end_ns: int) -> dict[int, RowsBySymbol]:
        answered.wait(60)
        return {first_open_ns: {}}

    requests = RestBarsProvider("polygon", fetch)
    assert requests.unhealthy_reason(minute(), 0) == "no response yet"
    answered.set()
    wait_for(lambda: requests.unhealthy_reason(minute(), 0) == "", "the response")


def test_wrong_key_gives_a_one_line_reason_without_immediate_retry(server: PolygonServer) -> None:
    options = source(server, key="another-secret-key")
    socket = PolygonSocketProvider(options)
    assert "disconnected" in socket.unhealthy_reason(minute(), time.time_ns())
    reason = "Polygon rejected the connection: auth_failed: authentication failed"
    with capture_logs() as entries:
        socket.start()
        wait_for(lambda: socket.unhealthy_reason(minute(), time.time_ns()) == reason, "the reason")
        time.sleep(0.6)
        assert server.sign_ins == 1
        socket.stop()
    assert [entry["reason"] for entry in entries if "reason" in entry] == [reason]
    assert "another-secret-key" not in repr(entries) + repr(options)


def test_plan_without_minute_bars_fails_and_without_quotes_continues(server: PolygonServer) -> None:
    server.allowed_channels = {"AM"}
    with capture_logs() as entries, listening(server) as socket:
        wait_for(lambda: "not authorized" in repr(entries), "the rejected subscription")
        server.publish(bar_event("AAPL", 0))
        wait_for(lambda: bool(socket.rows(minute())), "the bar after the rejected subscription")
    server.allowed_channels = {"Q"}
    rejected = PolygonSocketProvider(source(server))
    rejected.start()
    wait_for(
        lambda: "Polygon rejected the connection: error: not authorized" in rejected.unhealthy_reason(minute(), 0),
        "the reason",
    )
    rejected.stop()


def test_gap_after_a_disconnect_is_backfilled_without_duplicates(server: PolygonServer) -> None:
    now = ManualClock(START_NS)
    with capture_logs() as entries, listening(server, now) as socket:
        server.publish(bar_event("AAPL", 0))
        wait_for(lambda: bool(socket.rows(minute(0))), "the first bar")
        now.set_to(70)
        server.rejects_connections = True
        server.disconnect("force_disconnect", "service restart")
        wait_for(lambda: "disconnected" in socket.unhealthy_reason(minute(1), now()), "the cut is noticed")
        assert "force_disconnect: service restart" in [entry.get("status") for entry in entries]
        # Two minutes end during the disconnect. The provider requests their bars, and the first request fails.
        for number, close in ((0, 99.0), (1, 11.5), (2, 11.6)):
            server.add_bar("AAPL", START_NS + number * MINUTE_NS, (11.0, 100.0, 9.0, close), 7.0)
        now.set_to(185)
        server.failures_left, server.rejects_connections = 1, False
        wait_for(lambda: "the socket" not in socket.unhealthy_reason(minute(1), now()), "it is back")
        assert "missed" in socket.unhealthy_reason(minute(1), now()) and not socket.unhealthy_reason(minute(3), now())
        wait_for(lambda: not socket.unhealthy_reason(minute(1), now()), "the gap is filled")
        closes = {number: socket.rows(minute(number))["AAPL"].close for number in range(3)}
        assert closes == {0: 11.0, 1: 11.5, 2: 11.6}, "bars of the socket are not replaced"
        server.publish(bar_event("AAPL", 2, 11.7))
        wait_for(lambda: socket.rows(minute(2))["AAPL"].close == 11.7, "a bar of the socket replaces a requested one")


def test_disconnect_within_a_minute_requests_nothing(server: PolygonServer) -> None:
    now = ManualClock(START_NS)
    now.set_to(20)
    with listening(server, now) as socket:
        server.disconnect()
        wait_for(lambda: server.sign_ins == 2 and not socket.unhealthy_reason(minute(), now()), "it is back")
        assert server.requests == []


def test_malformed_events_become_dead_letters_and_are_counted(server: PolygonServer) -> None:
    malformed = [
        ("{not json", "a JSON list of events"),
        ('{"ev": "AM"}', "a JSON list of events"),
        ('["AM"]', "every event must be a JSON object"),
        ([bar_event("AAPL", 0, o=-1.0)], "0 < l <= o"),
        ([bar_event("AAPL", 0, h="12")], "field h must be a number, found '12'"),
        ([bar_event("AAPL", 0, s=START_NS // MILLI_NS + 1)], "field s must be a multiple of 60000 ms"),
        ([bar_event("TSLA", 0)], "field sym must be a subscribed symbol, found 'TSLA'"),
        ([{"ev": "T", "sym": "AAPL", "p": 10.0, "s": 1, "t": "now"}], "field t must be milliseconds since 1970"),
        ([{"ev": "T", "sym": "AAPL", "p": 10.0, "s": 1, "t": 10**400}], "field t must be milliseconds since 1970"),
        ([{"ev": "Q", "sym": "AAPL", "bp": 10**400, "ap": 1, "bs": 1, "as": 1}], "field bp is too large"),
        ([{"ev": "XYZ", "sym": "AAPL"}], "field ev must be AM, Q, T or status, found 'XYZ'"),
    ]
    with listening(server) as socket:
        for event, _ in malformed:
            server.publish_raw(event if isinstance(event, str) else json.dumps(event))
        server.publish(bar_event("AAPL", 0))
        wait_for(lambda: bool(socket.rows(minute())), "the valid event after them")
        assert socket.rejected_count == len(malformed)
        rejected = socket.drain_rejected()
        for (_, message), rejected_event in zip(malformed, rejected, strict=True):
            assert message in rejected_event.reason and rejected_event.raw
        times = [rejected_event.at_ns for rejected_event in rejected]
        assert times == sorted(set(times)), "each has its own offset in the dead letters"
        assert socket.drain_rejected() == []


class PolygonFeedRun:
    """A feed over the given providers. The test's clock sets the time of each poll."""

    def __init__(self, now: ManualClock, *providers: Provider) -> None:
        settings = LiveFeedSection(symbols=("AAPL",), calendar="24/7", wait_s=5.0)
        self._now = now
        self.feed = LiveFeed(settings, providers, lambda _since: FeedTopicState(), now_ns=now)
        self.records: list[Record] = []

    def close_minute(self, seconds: float, open_number: int) -> Bar:
        """Set the clock to `seconds`, wait until the minute `open_number` closes, and return its bar."""
        self._now.set_to(seconds)

        def closed() -> bool:
            self.records += [record for time_slice in self.feed.take(10_000) for record in time_slice.records]
            return any(isinstance(record, Bar) and record.open_ns == open_ns for record in self.records)

        open_ns = START_NS + open_number * MINUTE_NS
        wait_for(closed, f"the bar of minute {open_number}")
        [bar] = [record for record in self.records if isinstance(record, Bar) and record.open_ns == open_ns]
        return bar


def test_feed_fails_over_while_polygon_is_silent_or_disconnected_and_returns(server: PolygonServer) -> None:
    now = ManualClock(START_NS)
    socket = PolygonSocketProvider(source(server, symbols=("AAPL",), stale_s=90.0), now_ns=now)
    run = PolygonFeedRun(now, socket, SimulatedProvider(("AAPL",), 7, MINUTE_NS))
    run.feed.take(1)
    wait_for(lambda: not socket.unhealthy_reason(minute(), now()), "it listens")

    def publish_bar(number: int, close: float) -> None:
        server.publish(bar_event("AAPL", number, close))
        wait_for(lambda: bool(socket.rows(minute(number))), "the bar")

    publish_bar(0, 11.0)
    server.publish_raw("garbage")
    wait_for(lambda: socket.rejected_count == 1, "the garbage")
    assert run.close_minute(60.5, 0).close == 11.0
    silent = run.close_minute(190, 2)  # silent for more than 90 s
    assert silent.close != 11.0 and silent.traded
    now.set_to(241)
    publish_bar(3, 11.4)
    assert run.close_minute(241, 3).close == 11.4
    server.rejects_connections = True
    server.disconnect()
    wait_for(lambda: "disconnected" in socket.unhealthy_reason(minute(4), now()), "the cut")
    disconnected = run.close_minute(306, 4)
    assert disconnected.close != 11.4 and disconnected.traded
    server.rejects_connections = False
    for number in (3, 4):
        server.add_bar("AAPL", START_NS + number * MINUTE_NS, (9.0, 9.0, 9.0, 9.0), 1.0)
    wait_for(lambda: not socket.unhealthy_reason(minute(4), now()), "it is back, the gap filled")
    publish_bar(5, 11.6)
    assert run.close_minute(361, 5).close == 11.6
    run.feed.stop()
    switches = [(one.arguments["to"], one.reason) for one in run.records if isinstance(one, Command)]
    assert [to for to, _ in switches] == ["simulator", "polygon", "simulator", "polygon"]
    assert "no data received for" in switches[0][1] and "disconnected" in switches[2][1]
    assert all(one.kind == FEED_SWITCHED for one in run.records if isinstance(one, Command))
    bars = [one for one in run.records if isinstance(one, Bar)]
    assert [bar.seq for bar in bars] == list(range(1, len(bars) + 1)), "each once"
    assert [bar.open_ns for bar in bars] == [START_NS + number * MINUTE_NS for number in range(6)]
    [dead_letter] = [one for one in run.records if isinstance(one, DeadLetter)]
    assert (dead_letter.topic, dead_letter.stage, dead_letter.raw) == ("feed:polygon", "market_data", b"garbage")
