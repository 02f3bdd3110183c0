"""Headlines from every source: no duplicates, correct symbols, and recovery from source failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings, load_settings
from dataflows.runtime.topology import FEED_SHARD
from dataflows.sources.background_poller import BackgroundPoller, SeenIds
from dataflows.sources.news import news_source
from dataflows.sources.news.alpaca import AlpacaNewsSource
from dataflows.sources.news.files import NewsFileSource
from dataflows.sources.news.items import make_item
from dataflows.sources.news.rss import RssNewsSource
from dataflows.sources.news.simulator import SimulatedNewsSource
from dataflows.sources.polled_source import PolledSource
from operators.news import SymbolTagger, news_id
from schemas.codec import decode, encode
from schemas.errors import BadInput, Unavailable
from schemas.records import NewsItem, Record
from tests.builders import news_item
from tests.unit.alpaca_broker import local_broker, wait_for
from tests.unit.local_http_server import LocalServer, local_server

TAG = SymbolTagger({"AAPL": ["Apple", "Apple Inc"], "F": ["Ford Motor"], "BRK.B": ["Berkshire Hathaway"]}).tag
NOW_NS = int(datetime(2024, 3, 11, 15, tzinfo=UTC).timestamp()) * 10**9
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
    with local_server() as running:
        yield running


def feeds(*urls: str, **overrides: Any) -> RssNewsSource:
    options: dict[str, Any] = {
        "interval_s": 1.0,
        "timeout_s": 2.0,
        "max_bytes": 100_000,
        "tag": TAG,
        "private_addresses": True,
        "now_ns": lambda: NOW_NS,
    } | overrides
    return RssNewsSource(urls, **options)


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
def test_symbols_are_recognized_by_cashtag_exchange_and_whole_name(text: str, symbols: list[str]) -> None:
    assert TAG(text) == symbols


def test_without_companies_only_marked_symbols_are_recognized() -> None:
    assert SymbolTagger({}).tag("Apple $MSFT") == ["MSFT"]


def test_an_rss_feed_becomes_items_oldest_first(server: LocalServer) -> None:
    server.set_response("/feed", RSS.encode())
    items: Any = feeds(f"{server.url}/feed").fetch()
    assert [item.headline for item in items] == ["Earlier", "Apple & friends", "From the future"]
    apple = items[1]
    assert (apple.symbols, apple.summary, apple.url) == (["AAPL", "TSLA"], "About $TSLA", "http://x/1")
    assert (apple.ts_ns, apple.published_ns, apple.source) == (NOW_NS, NOW_NS - 3600 * 10**9, "rss:127.0.0.1")
    assert items[2].published_ns == NOW_NS, "a source's wrong clock does not reach beyond now"
    assert all(decode(encode(item)) == item for item in items)


def test_an_atom_feed_becomes_items(server: LocalServer) -> None:
    server.set_response("/atom", ATOM.encode())
    (item,) = feeds(f"{server.url}/atom").fetch()
    assert isinstance(item, NewsItem)
    assert (item.headline, item.symbols, item.url) == ("Ford Motor recalls", ["F"], "http://y/1")


def test_a_feed_that_has_not_changed_is_not_sent_again(server: LocalServer) -> None:
    def answer(http_request: Any) -> Any:
        if (
            http_request.headers.get("if-none-match") == '"v1"'
            and http_request.headers.get("if-modified-since") == "yesterday"
        ):
            return 304, {}, b""
        return 200, {"ETag": '"v1"', "Last-Modified": "yesterday"}, RSS.encode()

    server.responses["/feed"] = answer
    source = feeds(f"{server.url}/feed")
    assert [len(source.fetch()), len(source.fetch())] == [3, 0]


def test_reworded_item_keeps_its_id(server: LocalServer) -> None:
    server.set_response("/feed", RSS.encode())
    source = feeds(f"{server.url}/feed")
    before = [record[0] for record in source.fetch()]
    server.set_response("/feed", RSS.replace("Earlier", "Earlier (updated)").encode())
    assert [record[0] for record in source.fetch()] == before


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [(b"x" * 200_000, 200, "larger than 100000 bytes"), (b"", 500, "500"), (b"", 404, "404")],
)
def test_failed_feed_is_reported_and_the_others_are_read(
    server: LocalServer, body: bytes, status: int, reason: str
) -> None:
    server.set_response("/bad", body, status)
    server.set_response("/good", RSS.encode())
    with pytest.raises(Unavailable, match=reason):
        feeds(f"{server.url}/bad").fetch()
    assert len(feeds(f"{server.url}/bad", f"{server.url}/good").fetch()) == 3


@pytest.mark.parametrize("body", [b"", b"\x00\xff garbage", b"<rss><channel><item>", b'{"no": "feed"}'])
def test_malformed_feed_gives_no_items(server: LocalServer, body: bytes) -> None:
    server.set_response("/feed", body)
    assert feeds(f"{server.url}/feed").fetch() == []


def test_slow_feed_times_out(server: LocalServer) -> None:
    def slow(http_request: Any) -> Any:
        time.sleep(1.0)
        return 200, {}, RSS.encode()

    server.responses["/feed"] = slow
    with pytest.raises(Unavailable, match=r"/feed: .*timed out"):
        feeds(f"{server.url}/feed", timeout_s=0.1).fetch()


def test_same_headline_on_one_day_is_one_item_without_a_source_id() -> None:
    def id_of(headline: str, hour: int) -> str:
        item = make_item("s", headline, published_ns=NOW_NS + hour * 3600 * 10**9, tag=TAG)
        assert item is not None
        return item.news_id

    assert id_of("Profits rise", 0) == id_of("PROFITS  rise!", 5) != id_of("Profits rise", 10)
    assert news_id("s", "a", 0) != news_id("t", "a", 0)


class ScriptedSource:
    """A `BlockingSource` that returns the given results in order and repeats the last one."""

    def __init__(self, *results: Any) -> None:
        self.interval_s, self.results, self.closed = 0.01, list(results), False

    def fetch(self) -> list[Record]:
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return list(result)

    def close(self) -> None:
        self.closed = True


def item(name: str) -> NewsItem:
    return news_item(name, NOW_NS, [], headline=name)


def collect_ids(source: BackgroundPoller, count: int) -> list[str]:
    item_ids: list[str] = []

    def has_enough() -> bool:
        item_ids.extend(str(record[0]) for record in source.poll())
        return len(item_ids) >= count

    wait_for(has_enough, f"{count} items")
    return item_ids


def test_written_items_are_not_repeated_and_failures_are_retried() -> None:
    scripted = ScriptedSource([item("a"), item("b")], Unavailable("away"), [item("b"), item("c")], [])
    source = BackgroundPoller("news", scripted, read_stored_ids=lambda: ["a"], ids_max=10).start()
    assert collect_ids(source, 2) == ["b", "c"]
    source.close()
    assert scripted.closed
    assert source.poll() == []


def test_no_items_before_the_written_ids_are_loaded() -> None:
    lookups: list[Callable[[], list[str]]] = [_raise_unavailable, lambda: ["a"]]
    source = BackgroundPoller(
        "news", ScriptedSource([item("a"), item("b")]), read_stored_ids=lambda: lookups.pop(0)(), ids_max=10
    )
    assert collect_ids(source.start(), 1) == ["b"]
    source.close()


def _raise_unavailable() -> list[str]:
    raise Unavailable("Kafka is away")


def test_seen_ids_are_bounded() -> None:
    is_new = SeenIds(3)
    assert [is_new(name) for name in "abcadbb"] == [True, True, True, False, True, False, False]
    assert is_new("a"), "the oldest is forgotten"


def test_simulated_headlines_depend_only_on_seed_and_time() -> None:
    clock = [NOW_NS]
    source = SimulatedNewsSource(["B", "A"], 7, interval_s=15, now_ns=lambda: clock[0])
    same_seed = SimulatedNewsSource(["A", "B"], 7, interval_s=15, now_ns=lambda: clock[0])
    headlines: list[Any] = []
    for _ in range(200):
        clock[0] += 15 * 10**9
        new_items = source.poll()
        assert new_items == same_seed.poll()
        assert len(new_items) <= 1
        headlines += new_items
        assert source.poll() == []
    assert 60 < len(headlines) < 140
    assert len({headline.news_id for headline in headlines}) == len(headlines)
    assert {symbol for headline in headlines for symbol in headline.symbols} == {"A", "B"}
    clock[0] += 3600 * 10**9
    assert len(source.poll()) <= 4, "a pause is not made good"


def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text("time,headline\n2024-03-11T10:00:00Z,Apple rises\n")
    source = NewsFileSource([path], interval_s=1.0, tag=TAG, now_ns=lambda: NOW_NS)
    (first,) = source.fetch()
    assert isinstance(first, NewsItem)
    assert (first.ts_ns, first.symbols) == (NOW_NS, ["AAPL"])
    assert source.fetch() == []
    with path.open("a") as file:
        file.write("2024-03-11T11:00:00Z,More\n")
    assert [record[0] for record in source.fetch()].index(first.news_id) == 0
    path.unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        source.fetch()


def test_alpaca_news_arrive_by_socket_and_missed_items_by_request() -> None:
    with local_broker() as broker:
        broker.run_coroutine(broker.broker.publish_news("Before the socket", ["AAPL"]))
        socket = f"ws://127.0.0.1:{broker.url.rsplit(':', 1)[1]}/v1beta1/news"
        source = AlpacaNewsSource("local", "local", request_interval_s=600, tag=TAG, url=broker.url, socket_url=socket)
        (missed,) = source.fetch()
        wait_for(lambda: any(reader.subscriptions for reader in broker.broker.news_clients), "the socket")
        broker.run_coroutine(broker.broker.publish_news("Ford Motor by socket", []))
        received: list[Any] = []

        def has_received() -> bool:
            received.extend(source.fetch())
            return bool(received)

        wait_for(has_received, "news by socket")
        later = AlpacaNewsSource("local", "local", request_interval_s=600, tag=TAG, url=broker.url, socket_url=socket)
        requested = later.fetch()
        source.close()
        later.close()
    assert isinstance(missed, NewsItem)
    assert (missed.headline, missed.symbols, missed.source) == ("Before the socket", ["AAPL"], "alpaca")
    assert (received[0].headline, received[0].symbols) == ("Ford Motor by socket", ["F"])
    assert {one.news_id for one in requested if isinstance(one, NewsItem)} == {missed.news_id, received[0].news_id}, (
        "one id by either way"
    )


def test_unreachable_alpaca_gives_a_one_line_error() -> None:
    source = AlpacaNewsSource(
        "k", "s", request_interval_s=600, tag=TAG, url="http://127.0.0.1:9", socket_url="ws://127.0.0.1:9"
    )
    with pytest.raises(Unavailable, match="Alpaca news request failed: ") as error:
        source.fetch()
    source.close()
    assert "\n" not in str(error.value)


def settings(**news: Any) -> Settings:
    defaults = load_settings(environment={})
    return defaults.model_copy(update={"news": defaults.news.model_copy(update=news)})


def test_the_settings_choose_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPACA_API_KEY", raising=False)
    assert news_source(settings(feed="none"), list) is None
    assert isinstance(news_source(settings(), list), SimulatedNewsSource)
    file_settings = settings()
    market = file_settings.market_data.model_copy(update={"feed": "files"})
    assert news_source(file_settings.model_copy(update={"market_data": market}), list) is None
    for feed, missing in (("rss", "news.rss.urls"), ("files", "news.files.paths"), ("alpaca", "ALPACA_API_KEY")):
        with pytest.raises(BadInput, match=missing):
            news_source(settings(feed=feed), list)


def test_simulated_headlines_that_a_killed_process_has_not_stored_are_stored_at_the_start() -> None:
    """The simulator creates no headline of the past again, so only the reader of the topic can store them."""
    reads: list[str] = []

    def read_stored_ids() -> list[str]:
        reads.append("read")
        return []

    news_source(settings(), read_stored_ids)
    assert reads == ["read"]


def test_service_emits_new_items_as_slices() -> None:
    source = PolledSource("news", ScriptedSource([item("a")], []), now_ns=lambda: NOW_NS)  # type: ignore[arg-type]
    source_partition = source.build_part("in", FEED_SHARD, None)
    ScriptedSource.poll = ScriptedSource.fetch  # type: ignore[attr-defined]
    ((_, (time_slice,)),) = source_partition.next_batch()
    assert (time_slice.ts_ns, time_slice.records) == (NOW_NS, [item("a")])


def test_clock_set_back_does_not_stop_polling() -> None:
    clock, elapsed_s = [NOW_NS], [0.0]

    class AlwaysNews:
        interval_s = 5.0

        def poll(self) -> list[Any]:
            return [item("a")]

    source = PolledSource("news", AlwaysNews(), now_ns=lambda: clock[0], monotonic_s=lambda: elapsed_s[0])
    source_partition = source.build_part("in", FEED_SHARD, None)
    assert source_partition.next_batch()
    clock[0] -= 3600 * 10**9
    assert source_partition.next_batch() == [], "it is not time yet"
    elapsed_s[0] = 5.0
    ((_, (time_slice,)),) = source_partition.next_batch()
    assert time_slice.ts_ns == clock[0]
