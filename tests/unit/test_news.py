"""Headlines from every source: once each, with their symbols, whatever the source does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings, load_settings
from dataflows.runtime.topology import FEED
from dataflows.sources.background import Background, Once
from dataflows.sources.news import news_source
from dataflows.sources.news.alpaca import AlpacaNews
from dataflows.sources.news.files import NewsFiles
from dataflows.sources.news.items import make_item
from dataflows.sources.news.rss import RssFeeds
from dataflows.sources.news.simulator import NewsSimulator
from dataflows.sources.polling import PolledSource
from operators.news import SymbolTagger, news_id
from schemas.codec import decode, encode
from schemas.errors import BadInput, Unavailable
from schemas.records import NewsItem, Record
from tests.unit.alpaca_broker import local_broker, wait_for
from tests.unit.news_server import LocalServer, local_server

TAG = SymbolTagger({"AAPL": ["Apple", "Apple Inc"], "F": ["Ford Motor"], "BRK.B": ["Berkshire Hathaway"]}).tag
NOW = int(datetime(2024, 3, 11, 15, tzinfo=UTC).timestamp()) * 10**9
RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>
<item><guid>1</guid><title>Apple &amp;amp; friends</title><link>http://x/1</link>
<description>&lt;p&gt;About &lt;b&gt;$TSLA&lt;/b&gt;&lt;/p&gt;</description>
<pubDate>Mon, 11 Mar 2024 14:00:00 GMT</pubDate></item>
<item><guid>2</guid><title>Earlier</title><pubDate>Mon, 11 Mar 2024 13:00:00 GMT</pubDate></item>
<item><guid>3</guid><title>From the future</title><pubDate>Mon, 11 Mar 2034 13:00:00 GMT</pubDate></item>
<item><guid>4</guid><title></title></item></channel></rss>"""
ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>t</title><entry><id>urn:1</id>
<title>Ford Motor recalls</title><link href="http://y/1"/><updated>2024-03-11T12:00:00Z</updated></entry></feed>"""


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as found:
        yield found


def feeds(*urls: str, **how: Any) -> RssFeeds:
    options: dict[str, Any] = {
        "interval_s": 1.0,
        "timeout_s": 2.0,
        "max_bytes": 100_000,
        "tag": TAG,
        "now_ns": lambda: NOW,
    } | how
    return RssFeeds(urls, **options)


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("Apple rises", ["AAPL"]),
        ("APPLE INC. falls", ["AAPL"]),
        ("Pineapple and Applebee's", []),
        ("Ford motors on", []),
        ("ford\n motor and $AAPL and Apple", ["F", "AAPL"]),
        ("$BRK.B, Berkshire Hathaway", ["BRK.B"]),
        ("costs $5 or $500M, $aapl", []),
        ("Something (NYSE: GE) and (NASDAQ:MSFT)", ["GE", "MSFT"]),
        ("$TSLA. $NVDA! $TOOLONGX", ["TSLA", "NVDA"]),
    ],
)
def test_symbols_are_found_by_cashtag_exchange_and_whole_name(text: str, symbols: list[str]) -> None:
    assert TAG(text) == symbols


def test_without_companies_only_marked_symbols_are_found() -> None:
    assert SymbolTagger({}).tag("Apple $MSFT") == ["MSFT"]


def test_an_rss_feed_becomes_items_oldest_first(server: LocalServer) -> None:
    server.says("/feed", RSS.encode())
    items: Any = feeds(f"{server.url}/feed").ask()
    assert [item.headline for item in items] == ["Earlier", "Apple & friends", "From the future"]
    apple = items[1]
    assert (apple.symbols, apple.summary, apple.url) == (["AAPL", "TSLA"], "About $TSLA", "http://x/1")
    assert (apple.ts_ns, apple.published_ns, apple.source) == (NOW, NOW - 3600 * 10**9, "rss:127.0.0.1")
    assert items[2].published_ns == NOW, "a source's wrong clock does not reach beyond now"
    assert all(decode(encode(item)) == item for item in items)


def test_an_atom_feed_becomes_items(server: LocalServer) -> None:
    server.says("/atom", ATOM.encode())
    (item,) = feeds(f"{server.url}/atom").ask()
    assert isinstance(item, NewsItem)
    assert (item.headline, item.symbols, item.url) == ("Ford Motor recalls", ["F"], "http://y/1")


def test_a_feed_that_has_not_changed_is_not_sent_again(server: LocalServer) -> None:
    def answer(asked: Any) -> Any:
        if asked.headers.get("if-none-match") == '"v1"' and asked.headers.get("if-modified-since") == "yesterday":
            return 304, {}, b""
        return 200, {"ETag": '"v1"', "Last-Modified": "yesterday"}, RSS.encode()

    server.answers["/feed"] = answer
    source = feeds(f"{server.url}/feed")
    assert [len(source.ask()), len(source.ask())] == [3, 0]


def test_an_item_told_again_with_other_words_keeps_its_id(server: LocalServer) -> None:
    server.says("/feed", RSS.encode())
    source = feeds(f"{server.url}/feed")
    before = [record[0] for record in source.ask()]
    server.says("/feed", RSS.replace("Earlier", "Earlier (updated)").encode())
    assert [record[0] for record in source.ask()] == before


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [(b"x" * 200_000, 200, "larger than 100000 bytes"), (b"", 500, "500"), (b"", 404, "404")],
)
def test_a_feed_that_fails_is_said_and_the_others_are_read(
    server: LocalServer, body: bytes, status: int, reason: str
) -> None:
    server.says("/bad", body, status)
    server.says("/good", RSS.encode())
    with pytest.raises(Unavailable, match=reason):
        feeds(f"{server.url}/bad").ask()
    assert len(feeds(f"{server.url}/bad", f"{server.url}/good").ask()) == 3


@pytest.mark.parametrize("body", [b"", b"\x00\xff garbage", b"<rss><channel><item>", b'{"no": "feed"}'])
def test_garbage_is_no_item(server: LocalServer, body: bytes) -> None:
    server.says("/feed", body)
    assert feeds(f"{server.url}/feed").ask() == []


def test_a_slow_feed_is_given_up(server: LocalServer) -> None:
    def slow(asked: Any) -> Any:
        time.sleep(1.0)
        return 200, {}, RSS.encode()

    server.answers["/feed"] = slow
    with pytest.raises(Unavailable, match=r"/feed: .*timed out"):
        feeds(f"{server.url}/feed", timeout_s=0.1).ask()


def test_the_same_words_on_one_day_are_one_item_where_the_source_has_no_id() -> None:
    def found(headline: str, hour: int) -> str:
        item = make_item("s", headline, published_ns=NOW + hour * 3600 * 10**9, tag=TAG)
        assert item is not None
        return item.news_id

    assert found("Profits rise", 0) == found("PROFITS  rise!", 5) != found("Profits rise", 10)
    assert news_id("s", "a", 0) != news_id("t", "a", 0)


class Scripted:
    """An `Outside` that gives what it is told to."""

    def __init__(self, *answers: Any) -> None:
        self.interval_s, self.answers, self.closed = 0.01, list(answers), False

    def ask(self) -> list[Record]:
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return list(found)

    def close(self) -> None:
        self.closed = True


def item(name: str) -> NewsItem:
    return NewsItem(name, NOW, NOW, "s", name, "", "", [])


def drained(source: Background, count: int) -> list[str]:
    out: list[str] = []

    def enough() -> bool:
        out.extend(str(record[0]) for record in source.poll())
        return len(out) >= count

    wait_for(enough, f"{count} items")
    return out


def test_what_stands_in_the_topic_is_not_written_again_and_a_failure_is_overcome() -> None:
    outside = Scripted([item("a"), item("b")], Unavailable("away"), [item("b"), item("c")], [])
    source = Background("news", outside, written=lambda: ["a"], remembered=10).start()
    assert drained(source, 2) == ["b", "c"]
    source.close()
    assert outside.closed
    assert source.poll() == []


def test_nothing_is_given_before_it_is_known_what_was_written() -> None:
    answers: list[Callable[[], list[str]]] = [_fail, lambda: ["a"]]
    source = Background("news", Scripted([item("a"), item("b")]), written=lambda: answers.pop(0)(), remembered=10)
    assert drained(source.start(), 1) == ["b"]
    source.close()


def _fail() -> list[str]:
    raise Unavailable("Kafka is away")


def test_memory_of_what_was_seen_is_bounded() -> None:
    new = Once(3)
    assert [new(name) for name in "abcadbb"] == [True, True, True, False, True, False, False]
    assert new("a"), "the oldest is forgotten"


def test_simulated_headlines_are_a_function_of_seed_and_time_and_come_at_their_pace() -> None:
    clock = [NOW]
    source = NewsSimulator(["B", "A"], 7, interval_s=15, now_ns=lambda: clock[0])
    again = NewsSimulator(["A", "B"], 7, interval_s=15, now_ns=lambda: clock[0])
    found: list[Any] = []
    for _ in range(200):
        clock[0] += 15 * 10**9
        given = source.poll()
        assert given == again.poll()
        assert len(given) <= 1
        found += given
        assert source.poll() == []
    assert 60 < len(found) < 140
    assert len({one.news_id for one in found}) == len(found)
    assert {symbol for one in found for symbol in one.symbols} == {"A", "B"}
    clock[0] += 3600 * 10**9
    assert len(source.poll()) <= 4, "a pause is not made good"


def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text("time,headline\n2024-03-11T10:00:00Z,Apple rises\n")
    source = NewsFiles([path], interval_s=1.0, tag=TAG, now_ns=lambda: NOW)
    (first,) = source.ask()
    assert isinstance(first, NewsItem)
    assert (first.ts_ns, first.symbols) == (NOW, ["AAPL"])
    assert source.ask() == []
    with path.open("a") as file:
        file.write("2024-03-11T11:00:00Z,More\n")
    assert [record[0] for record in source.ask()].index(first.news_id) == 0
    path.unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        source.ask()


def test_alpaca_news_come_by_socket_and_what_it_missed_by_request() -> None:
    with local_broker() as broker:
        broker.do(broker.broker.tell_news("Before the socket", ["AAPL"]))
        socket = f"ws://127.0.0.1:{broker.url.rsplit(':', 1)[1]}/v1beta1/news"
        source = AlpacaNews("local", "local", request_s=600, tag=TAG, url=broker.url, socket_url=socket)
        (missed,) = source.ask()
        wait_for(lambda: any(reader.wants for reader in broker.broker.readers), "the socket")
        broker.do(broker.broker.tell_news("Ford Motor by socket", []))
        heard: list[Any] = []

        def came() -> bool:
            heard.extend(source.ask())
            return bool(heard)

        wait_for(came, "news by socket")
        later = AlpacaNews("local", "local", request_s=600, tag=TAG, url=broker.url, socket_url=socket)
        both = later._requested()
        source.close()
    assert isinstance(missed, NewsItem)
    assert (missed.headline, missed.symbols, missed.source) == ("Before the socket", ["AAPL"], "alpaca")
    assert (heard[0].headline, heard[0].symbols) == ("Ford Motor by socket", ["F"])
    assert {one.news_id for one in both} == {missed.news_id, heard[0].news_id}, "one id by either way"


def test_alpaca_away_is_unavailable_in_one_sentence() -> None:
    source = AlpacaNews("k", "s", request_s=600, tag=TAG, url="http://127.0.0.1:9", socket_url="ws://127.0.0.1:9")
    with pytest.raises(Unavailable, match="Alpaca's news: ") as caught:
        source._requested()
    assert "\n" not in str(caught.value)


def settings(**news: Any) -> Settings:
    found = load_settings(environment={})
    return found.model_copy(update={"news": found.news.model_copy(update=news)})


def test_the_settings_choose_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPACA_API_KEY", raising=False)
    assert news_source(settings(feed="none"), list) is None
    assert isinstance(news_source(settings(), list), NewsSimulator)
    played = settings()
    market = played.market_data.model_copy(update={"feed": "files"})
    assert news_source(played.model_copy(update={"market_data": market}), list) is None
    for feed, missing in (("rss", "news.rss.urls"), ("files", "news.files.paths"), ("alpaca", "ALPACA_API_KEY")):
        with pytest.raises(BadInput, match=missing):
            news_source(settings(feed=feed), list)


def test_the_service_gives_what_is_new_as_ticks() -> None:
    source = PolledSource("news", Scripted([item("a")], []), now_ns=lambda: NOW)  # type: ignore[arg-type]
    part = source.build_part("in", FEED, None)
    Scripted.poll = Scripted.ask  # type: ignore[attr-defined]
    ((_, (tick,)),) = part.next_batch()
    assert (tick.ts_ns, tick.records) == (NOW, [item("a")])


def test_a_wall_clock_that_is_set_back_does_not_keep_the_service_from_asking() -> None:
    clock, passed = [NOW], [0.0]

    class Always:
        interval_s = 5.0

        def poll(self) -> list[Any]:
            return [item("a")]

    source = PolledSource("news", Always(), now_ns=lambda: clock[0], passed_s=lambda: passed[0])
    part = source.build_part("in", FEED, None)
    assert part.next_batch()
    clock[0] -= 3600 * 10**9
    assert part.next_batch() == [], "it is not time yet"
    passed[0] = 5.0
    ((_, (tick,)),) = part.next_batch()
    assert tick.ts_ns == clock[0]
